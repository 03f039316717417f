// Reading contents where the image is odd, damaged or lacks a device; how much is asked of the devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::ElementsAre;

using Devices = std::vector<std::unique_ptr<block::Device>>;
using Bytestring = std::vector<std::byte>;

// Counts what passes through.
class Counted final : public block::Device {
 public:
  struct Counts {
    std::atomic<uint64_t> reads{0}, announced{0};  // requests; bytes
  };
  Counted(std::unique_ptr<block::Device> below, Counts& counts) : below_(std::move(below)), counts_(counts) {}
  const std::string& name() const override { return below_->name(); }
  uint64_t size() const override { return below_->size(); }
  uint32_t block_size() const override { return below_->block_size(); }
  bool writable() const override { return below_->writable(); }
  void will_read(uint64_t, uint64_t length) override { counts_.announced += length; }

 protected:
  Result<void> perform(const block::IoRequest& request) override {
    counts_.reads += request.op == block::IoOp::read;
    return below_->run(request.again());
  }

 private:
  const std::unique_ptr<block::Device> below_;
  Counts& counts_;
};

template <typename T>
T& as(MutableBytes bytes, size_t offset = 0) {
  return *reinterpret_cast<T*>(bytes.data() + offset);
}

// The leaf with other items. What does not fit is the test's mistake.
void rewrite_leaf(MutableBytes block, FunctionRef<void(std::map<Key, std::string>&)> change) {
  const TreeBlock leaf(block);
  std::map<Key, std::string> items;
  for (uint32_t slot = 0; slot < leaf.nritems(); ++slot)
    items.emplace(leaf.key(slot), as_text(leaf.item_data(slot)));
  change(items);
  LeafBuilder builder(leaf.owner(), static_cast<uint32_t>(block.size()));
  for (const auto& [key, data] : items) builder.item(key, data);
  const Block built = builder.build();
  as<Header>(block).nritems = static_cast<uint32_t>(items.size());
  std::copy(built.bytes.begin() + sizeof(Header), built.bytes.end(), block.begin() + sizeof(Header));
}

// An image under test: pristine, then spoiled, and files of it read.
class Contents : public ::testing::Test {
 protected:
  void use(const std::string& name) { pristine_ = std::make_unique<PristineImage>(name); }
  void open(FunctionRef<void(Devices&)> spoil) {
    Devices devices = pristine_->overlays();
    spoil(devices);
    open_on(std::move(devices));
  }
  void open() {
    open([](Devices&) {});
  }
  void open_on(Devices devices) {
    reader_.reset();
    image_.reset();
    cache_ = std::make_unique<cache::Cache>();
    for (auto& device : devices) device = std::make_unique<Counted>(std::move(device), counts_);
    auto image = Image::open_on(std::move(devices), pristine_->options(), *cache_, Logger(log_));
    ASSERT_TRUE(image) << image.error().message();
    image_ = std::move(*image);
    reader_ = std::make_unique<DataReader>(image_->fs(), image_->data());
  }

  Tree tree() const { return *image_->fs().tree(id::fs_tree); }
  const Volume& volume() const { return image_->fs().volume(); }
  Attributes find(const std::string& path) const {
    return resolve(image_->fs(), image_->root(), path)->attributes;
  }
  Attributes find_inode(uint64_t inode) const {
    Cursor cursor(tree());
    return *read_attributes(cursor, inode);
  }
  std::vector<FileRange> ranges_of(const Attributes& file) const {
    Cursor cursor(tree());
    ExtentWalker walker(cursor, file.inode, file.size, image_->fs().geometry().sectorsize);
    std::vector<FileRange> ranges;
    for (auto range = *walker.seek(0); range; range = *walker.next()) {
      ranges.push_back(*range);
      ranges.back().inline_bytes = {};
    }
    return ranges;
  }
  Result<Bytestring> read(const Attributes& file, uint64_t offset, size_t length) {
    Bytestring bytes(length);
    bytes.resize(TRY(reader_->read(tree(), file, offset, bytes)));
    return bytes;
  }
  Bytestring all_of(const Attributes& file) { return *read(file, 0, file.size); }

  struct Found {
    Attributes file;
    std::vector<FileRange> ranges;
  };
  // The first regular file of the top-level subvolume that is wanted.
  std::optional<Found> find_file(FunctionRef<bool(const Found&)> wanted) const {
    Walker walker(image_->fs(), *resolve(image_->fs(), image_->root(), ""), {.cross_subvolumes = false});
    while (auto entry = *walker.next()) {
      if (!entry->attributes.is_regular() || entry->id.subvolume != id::fs_tree) continue;
      Found found{entry->attributes, ranges_of(entry->attributes)};
      if (wanted(found)) return found;
    }
    return std::nullopt;
  }
  static bool is_plain(const FileRange& range) {
    return range.kind == RangeKind::data && range.compression == Compression::none;
  }

  void change_extent(Devices& devices, uint64_t inode, uint64_t offset,
                     FunctionRef<void(FileExtent&)> change) {
    EXPECT_TRUE(pristine_->change_item(devices, id::fs_tree, {inode, ItemType::extent_data, offset},
                                       [&](MutableBytes item, Item&) { change(as<FileExtent>(item)); }));
  }
  void change_inode(Devices& devices, uint64_t inode, FunctionRef<void(InodeItem&)> change) {
    EXPECT_TRUE(pristine_->change_item(devices, id::fs_tree, {inode, ItemType::inode_item, 0},
                                       [&](MutableBytes item, Item&) { change(as<InodeItem>(item)); }));
  }
  // Flips a byte of one copy.
  void damage(Devices& devices, uint64_t logical, size_t copy = 0) {
    const Place place = places_of(volume().chunks(), logical)[copy];
    std::array<std::byte, 512> bytes;
    auto& device = pristine_->device_of(devices, place.devid);
    const uint64_t start = place.offset / 512 * 512;
    ASSERT_TRUE(device.read(start, bytes));
    bytes[place.offset - start] ^= std::byte{0x10};
    ASSERT_TRUE(device.write(start, bytes));
  }

  std::unique_ptr<PristineImage> pristine_;
  std::unique_ptr<cache::Cache> cache_;
  MemorySink log_;
  Counted::Counts counts_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<DataReader> reader_;
};

// Kernels that met a full file system while punching a hole left such extents behind.
TEST_F(Contents, ExtentsOfNoLengthCoverNothing_BT065) {
  use("extents");
  open();
  for (bool first : {true, false}) {
    auto found = find_file([&](const Found& candidate) {
      const auto& ranges = candidate.ranges;
      return ranges.size() > 2 && is_plain(first ? ranges[0] : ranges[1]);
    });
    ASSERT_TRUE(found);
    const FileRange gone = found->ranges[first ? 0 : 1];
    Bytestring expected = all_of(found->file);
    std::fill_n(expected.begin() + static_cast<ptrdiff_t>(gone.offset), gone.length, std::byte{});
    open([&](Devices& devices) {
      change_extent(devices, found->file.inode, gone.offset,
                    [](FileExtent& extent) { extent.num_bytes = 0; });
    });
    EXPECT_TRUE(all_of(found->file) == expected);
    for (uint64_t offset : {gone.offset, gone.offset + 1, gone.end() - 1}) {
      EXPECT_THAT(*read(found->file, offset, 1), ElementsAre(std::byte{}));
      EXPECT_EQ(*reader_->seek_hole(tree(), found->file, offset), offset);
    }
    open();
  }
}

TEST_F(Contents, EmptyInlineExtentsCoverNothing_BT065) {
  use("single-1");
  open();
  auto found = find_file([](const Found& candidate) {
    return candidate.ranges.size() == 1 && candidate.ranges[0].kind == RangeKind::inline_data;
  });
  ASSERT_TRUE(found);
  open([&](Devices& devices) {
    for (const auto& block : pristine_->blocks())
      if (block.owner == id::fs_tree && block.level == 0)
        pristine_->change_block(devices, block.bytenr, [&](MutableBytes bytes) {
          rewrite_leaf(bytes, [&](std::map<Key, std::string>& items) {
            auto item = items.find({found->file.inode, ItemType::extent_data, 0});
            if (item != items.end()) item->second = sample_inline_extent("", 0);
          });
        });
  });
  EXPECT_TRUE(all_of(found->file) == Bytestring(found->file.size));
}

TEST_F(Contents, HolesThatAreWrittenDownAreHoles_BT065) {
  use("no-no-holes");
  open();
  auto found = find_file([](const Found& candidate) {
    return candidate.ranges.size() > 1 && candidate.ranges[0].kind == RangeKind::hole;
  });
  ASSERT_TRUE(found) << "this file system writes its holes down";
  EXPECT_EQ(found->ranges[0].offset, 0u);
  EXPECT_EQ(*reader_->seek_data(tree(), found->file, 0), found->ranges[0].end());
}

// Two extents that lie beside each other on the volume, the first at the end of a mirrored chunk, the second
// in a chunk with one copy.
TEST_F(Contents, NeighboursAreReadByTheCopiesOfTheirOwnChunks_BT092) {
  use("raid1-2");
  open();
  const Attributes file = find("sizes/stripes");
  const FileRange range = ranges_of(file)[0];
  ASSERT_TRUE(is_plain(range));
  const Bytestring expected = *read(file, 0, range.length);
  const uint64_t total = range.disk_num_bytes;
  const uint64_t half = total / 8192 * 4096;
  const ChunkEntry chunk = **volume().chunks().find(range.disk_bytenr);
  const uint64_t second_start = range.disk_bytenr + half, first_length = second_start - chunk.logical;
  ASSERT_EQ(first_length % 4096, 0u);

  auto split = [&](Devices& devices) {
    for (const auto& block : pristine_->blocks()) {
      if (block.level != 0 || (block.owner != id::fs_tree && block.owner != id::chunk_tree)) continue;
      pristine_->change_block(devices, block.bytenr, [&](MutableBytes bytes) {
        rewrite_leaf(bytes, [&](std::map<Key, std::string>& items) {
          auto extent = items.find({file.inode, ItemType::extent_data, 0});
          if (extent != items.end()) {
            FileExtent one;
            std::memcpy(static_cast<void*>(&one), extent->second.data(), sizeof one);
            FileExtent two = one;
            one.num_bytes = one.disk_num_bytes = one.head.ram_bytes = half;
            two.disk_bytenr += half;
            two.num_bytes = two.disk_num_bytes = two.head.ram_bytes = total - half;
            extent->second = packed(one);
            items[{file.inode, ItemType::extent_data, half}] = packed(two);
          }
          auto item = items.find({id::first_chunk_tree, ItemType::chunk_item, chunk.logical});
          if (item != items.end()) {
            ChunkOfTwo whole;
            std::memcpy(static_cast<void*>(&whole), item->second.data(), sizeof whole);
            ChunkOfTwo rest = whole;
            whole.chunk.length = first_length;
            rest.chunk.length = chunk.length - first_length;
            rest.chunk.type = block_group::data;
            rest.chunk.num_stripes = 1;
            rest.stripes[0] = whole.stripes[1];
            rest.stripes[0].offset += first_length;
            item->second = packed(whole);
            items[{id::first_chunk_tree, ItemType::chunk_item, second_start}] =
                packed(rest.chunk, rest.stripes[0]);
          }
        });
      });
    }
  };
  // Without the device of its first copy the mirrored chunk is read by a copy that the other one lacks.
  Devices devices = pristine_->overlays();
  split(devices);
  const block::Device* first = &pristine_->device_of(devices, chunk.stripes[0].devid);
  std::erase_if(devices, [&](const auto& device) { return device.get() == first; });
  open_on(std::move(devices));
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_EQ(volume().first_copy(**volume().chunks().find(range.disk_bytenr), range.disk_bytenr), 1);
  ASSERT_EQ((*volume().chunks().find(second_start))->copies(), 1);
  auto found = read(file, 0, range.length);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_TRUE(*found == expected);
  EXPECT_EQ(volume().bad_copies(), 0u);
}

// That a device is missing is known from the start: what parity gives in its place is no repair, and costs a
// read of each other device for a stripe, not for a sector.
TEST_F(Contents, OfAMissingDeviceComeFromParityWithoutComplaint_BT093_BT095) {
  for (const char* name : {"raid5-3", "raid6-5"}) {
    use(name);
    open();
    const Attributes file = find("sizes/stripes");
    const Bytestring expected = all_of(file);
    const size_t count = pristine_->overlays().size();
    for (size_t missing = 0; missing < count; ++missing) {
      Devices devices = pristine_->overlays();
      devices.erase(devices.begin() + static_cast<ptrdiff_t>(missing));
      open_on(std::move(devices));
      ASSERT_FALSE(HasFatalFailure());
      (void)read(file, 0, 1);  // the trees
      const uint64_t before = counts_.reads;
      EXPECT_TRUE(all_of(file) == expected) << name << " without device " << missing;
      EXPECT_EQ(volume().bad_copies(), 0u) << name << " without device " << missing;
      const uint64_t stripes = file.size / stripe_length + 2;
      EXPECT_LE(counts_.reads - before, stripes * count) << name << " without device " << missing;
    }
  }
}

// Without checksums a bad extent is read as it is. Who has checksums for it must not get it from the cache.
TEST_F(Contents, WhatWasReadWithoutChecksumsIsNotTakenForChecked_BT077) {
  use("compress-lzo");
  open();
  auto is_compressed = [](const Found& candidate) {
    return candidate.ranges[0].kind == RangeKind::data &&
           candidate.ranges[0].compression == Compression::lzo && candidate.ranges[0].length >= 65536;
  };
  auto checked = find_file([&](const Found& one) { return !one.ranges.empty() && is_compressed(one); });
  ASSERT_TRUE(checked);
  const FileRange range = checked->ranges[0];
  auto other = find_file([&](const Found& one) {
    return !one.ranges.empty() && one.file.inode != checked->file.inode && is_compressed(one) &&
           one.ranges[0].length <= range.length;
  });
  ASSERT_TRUE(other);
  bool tried = false;
  // A bit of some byte; not each leaves a stream that can be decompressed.
  for (uint64_t at = 300; at < range.disk_num_bytes && !tried; at += 1) {
    open([&](Devices& devices) {
      change_extent(devices, other->file.inode, 0, [&](FileExtent& extent) {
        extent.disk_bytenr = range.disk_bytenr;
        extent.disk_num_bytes = range.disk_num_bytes;
        extent.head.ram_bytes = range.ram_bytes;
      });
      change_inode(devices, other->file.inode,
                   [](InodeItem& inode) { inode.flags |= inode_flag::nodatasum; });
      damage(devices, range.disk_bytenr + at);
    });
    tried = read(find_inode(other->file.inode), 5000, 100).has_value();
  }
  ASSERT_TRUE(tried);
  auto found = read(checked->file, 5000, 100);
  ASSERT_FALSE(found);
  EXPECT_TRUE(found.error().is(err::data_checksum)) << found.error().message();
}

TEST_F(Contents, AreOneRequestWhereTheyLieTogether_BT073) {
  use("single-1");
  open();
  const Attributes file = find("sizes/stripes");
  const FileRange range = ranges_of(file)[0];
  ASSERT_TRUE(is_plain(range));
  ASSERT_GE(range.length, 512u << 10);
  (void)read(file, 0, file.size);  // the trees
  for (uint64_t offset : {0, 4096, 12288}) {
    const uint64_t before = counts_.reads;
    ASSERT_TRUE(read(file, offset, (512 << 10) - offset));
    EXPECT_EQ(counts_.reads - before, 1u) << "from " << offset;
  }
  counts_.announced = 0;
  ASSERT_TRUE(reader_->will_read(tree(), file, 4096, 20000));
  EXPECT_EQ(counts_.announced, 20000u);
}

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;  // offset, length
Ranges ranges_in(const std::vector<DataReader::Failure>& failures) {
  Ranges ranges;
  for (const auto& failure : failures) ranges.emplace_back(failure.offset, failure.length);
  return ranges;
}

TEST_F(Contents, FailuresAreListedInOrderAndNoneIsLeftAfterRepair_BT072) {
  struct Case {
    const char* image;
    std::vector<std::pair<uint32_t, size_t>> bad;  // sector, copy
    Ranges lost;
  };
  const Case cases[] = {
      {"single-1", {{9, 0}, {2, 0}}, {{8192, 4096}, {36864, 4096}}},
      {"single-1", {{4, 0}, {3, 0}, {5, 0}}, {{12288, 12288}}},
      {"dup-1", {{9, 0}, {9, 1}, {2, 0}}, {{36864, 4096}}},
      {"dup-1", {{9, 0}, {8, 1}, {2, 0}}, {}},
      {"raid1-2", {{0, 1}, {1, 1}, {2, 1}, {2, 0}}, {{8192, 4096}}},
  };
  for (const Case& c : cases) {
    use(c.image);
    open();
    const Attributes file = find("sizes/stripes");
    const uint64_t start = ranges_of(file)[0].disk_bytenr;
    const Bytestring whole = all_of(file);
    open([&](Devices& devices) {
      for (auto [sector, copy] : c.bad) damage(devices, start + sector * 4096, copy);
    });
    std::vector<DataReader::Failure> failures;
    Bytestring bytes(file.size);
    ASSERT_TRUE(reader_->read_salvaging(tree(), file, 0, bytes, failures));
    EXPECT_EQ(ranges_in(failures), c.lost) << c.image;
    Bytestring expected = whole;
    for (auto [offset, length] : c.lost)
      std::fill_n(expected.begin() + static_cast<ptrdiff_t>(offset), length, std::byte{});
    EXPECT_TRUE(bytes == expected) << c.image;
    EXPECT_GT(volume().bad_copies(), 0u) << c.image;
  }
}

}  // namespace
}  // namespace karst::btrfs::testing
