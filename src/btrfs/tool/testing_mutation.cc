#include "btrfs/tool/testing_mutation.h"

#include <algorithm>
#include <cstdlib>

#include "block/open.h"
#include "block/overlay_device.h"
#include "btrfs/file/xattr.h"
#include "btrfs/format/print.h"
#include "btrfs/tool/export.h"
#include "btrfs/tool/testing_patch.h"
#include "btrfs/tool/usage.h"
#include "btrfs/tool/walk.h"

namespace karst::btrfs::testing {

namespace {

// Prints what it is given, and keeps none of it.
class PrintingReceiver final : public DumpReceiver {
 public:
  PrintingReceiver(const std::unique_ptr<TreeDump>& dump, Outcome& outcome)
      : dump_(dump), outcome_(outcome) {}
  Result<void> tree(const DumpedTree&) override { return {}; }
  Result<void> block(const TreeBlock& block) override {
    if (!dump_) return {};
    const Geometry& geometry = dump_->geometry();
    print_block(block, geometry, {.csum_headers = true, .csum_items = true},
                [&](std::string_view text) { outcome_.dumped += text.size(); });
    // One form in depth is enough where blocks are alike.
    if (block.bytenr() / geometry.nodesize % 8 == 0)
      outcome_.dumped += block_to_json(block, geometry, {}).dump().size();
    return {};
  }
  void problem(const Error& error) override { outcome_.errors += !error.message().empty(); }

 private:
  const std::unique_ptr<TreeDump>& dump_;  // set after this was made
  Outcome& outcome_;
};

uint64_t first_item(Bytes bytes) {
  const auto& header = *overlay<Header>(bytes);
  const auto* last = overlay<Item>(bytes, sizeof(Header) + uint64_t{header.nritems - 1} * sizeof(Item));
  return header.nritems > 0 && last && last->offset < bytes.size() ? sizeof(Header) + last->offset
                                                                   : sizeof(Header);
}

void put(MutableBytes bytes, uint64_t at, uint64_t value) {
  const le64 disk = value;
  for (size_t i = 0; i < 8 && at + i < bytes.size(); ++i) bytes[at + i] = bytes_of(disk)[i];
}

}  // namespace

PristineImage::PristineImage(const std::string& name) : files_(name) {
  for (const std::string& path : files_.devices())
    base_.push_back(*block::open_device(path, block::OpenMode::read_only));
  Devices devices = overlays();
  cache::Cache cache;
  auto image = *Image::open_on(std::move(devices), files_.options(), cache, Logger());
  chunks_ = image->fs().volume().chunks();
  geometry_ = image->fs().geometry();
  auto dump = *TreeDump::open(overlays(), {}, cache, Logger(), blocks_);
  (void)*dump->run({});
}

Devices PristineImage::overlays() const {
  Devices devices;
  for (const auto& device : base_) devices.push_back(std::make_unique<block::OverlayDevice>(*device));
  return devices;
}

block::Device& PristineImage::device_of(Devices& devices, uint64_t devid) const {
  const Json& list = files_.info()["devices"];
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i]["devid"] == devid) return *devices[i];
  return *devices[0];
}

void PristineImage::change_block(Devices& devices, uint64_t bytenr,
                                 FunctionRef<void(MutableBytes)> change) const {
  const std::vector<std::byte> block = read_block(devices, bytenr, change);
  write_block(devices, bytenr, block);
}

bool PristineImage::change_item(Devices& devices, uint64_t tree, const Key& key,
                                FunctionRef<void(MutableBytes item, Item& head)> change) const {
  for (const auto& candidate : blocks_.found) {
    if (candidate.owner != tree || candidate.level != 0) continue;
    bool done = false;
    change_block(devices, candidate.bytenr, [&](MutableBytes bytes) {
      auto& header = *reinterpret_cast<Header*>(bytes.data());
      for (uint32_t slot = 0; slot < header.nritems && !done; ++slot) {
        auto& head = *reinterpret_cast<Item*>(bytes.data() + sizeof(Header) + slot * sizeof(Item));
        if (head.key.key() != key) continue;
        change(bytes.subspan(sizeof(Header) + head.offset, head.size), head);
        done = true;
      }
    });
    if (done) return true;
  }
  return false;
}

std::vector<std::byte> PristineImage::read_block(Devices& devices, uint64_t bytenr,
                                                 FunctionRef<void(MutableBytes)> change) const {
  std::vector<std::byte> block(geometry_.nodesize);
  const auto places = places_of(chunks_, bytenr);
  if (places.empty()) return block;
  (void)device_of(devices, places[0].devid).read(places[0].offset, block);
  change(block);
  seal(block, geometry_.checksum_type);
  return block;
}

void PristineImage::write_block(Devices& devices, uint64_t bytenr, Bytes block) const {
  for (const Place& place : places_of(chunks_, bytenr))
    (void)device_of(devices, place.devid).write(place.offset, block);
}

void PristineImage::spoil_last_copy(Devices& devices, uint64_t bytenr) const {
  const Place last = places_of(chunks_, bytenr).back();
  (void)device_of(devices, last.devid).write(last.offset, std::vector<std::byte>(geometry_.nodesize));
}

template <typename T>
bool Exerciser::count(const Result<T>& result, Outcome& outcome) {
  if (result) return true;
  if (result.error().message().empty() || result.error().errno_value() <= 0) std::abort();
  ++outcome.errors;
  return false;
}

Outcome Exerciser::run(const PristineImage& pristine, FunctionRef<void(Devices&)> spoil) {
  return run_on(
      [&] {
        auto devices = pristine.overlays();
        spoil(devices);
        return devices;
      },
      pristine.options());
}

Outcome Exerciser::run_on(FunctionRef<Devices()> devices, const ImageOptions& options) {
  Outcome outcome;
  dump(devices(), options, outcome);
  auto image = Image::open_on(devices(), options, cache_, Logger(log_));
  count(image, outcome);
  if (!image) return outcome;
  outcome.opened = true;
  count(list_subvolumes((*image)->fs()), outcome);
  count(default_subvolume((*image)->fs()), outcome);
  count(measure_usage((*image)->fs()), outcome);
  walk(**image, outcome);
  pack(**image, outcome);
  return outcome;
}

void Exerciser::dump(Devices devices, const ImageOptions& options, Outcome& outcome) {
  std::unique_ptr<TreeDump> dump;
  PrintingReceiver receiver(dump, outcome);
  auto opened = TreeDump::open(std::move(devices), options.open, cache_, Logger(log_), receiver);
  if (!count(opened, outcome)) return;
  dump = std::move(*opened);
  outcome.dumped += superblock_to_json(dump->super(), true).dump().size();
  print_superblock(dump->super(), true, [&](std::string_view text) { outcome.dumped += text.size(); });
  count(dump->run({}), outcome);
}

void Exerciser::walk(const Image& image, Outcome& outcome) {
  auto start = resolve(image.fs(), image.root(), "");
  if (!count(start, outcome)) return;
  DataReader reader(image.fs(), image.data());
  Walker walker(image.fs(), *start);
  uint64_t bytes_left = limits_.read_limit;
  for (;;) {
    auto entry = walker.next();
    if (!count(entry, outcome)) continue;
    if (!*entry) return;
    ++outcome.entries;
    visit(image, reader, **entry, bytes_left, outcome);
  }
}

void Exerciser::pack(const Image& image, Outcome& outcome) {
  auto start = resolve(image.fs(), image.root(), "");
  if (!count(start, outcome)) return;
  auto sink = [&](std::span<iovec> buffers) -> Result<void> {
    for (const iovec& buffer : buffers) outcome.archive_bytes += buffer.iov_len;
    if (outcome.archive_bytes > limits_.archive_limit)
      return Error(karst::err::no_space, "archive is long enough");
    return {};
  };
  auto report = export_tar(image, *start, {.memory = 4 << 20}, *pool_, sink);
  if (count(report, outcome)) outcome.errors += report->errors;
}

void Exerciser::visit(const Image& image, DataReader& reader, const WalkEntry& entry, uint64_t& bytes_left,
                      Outcome& outcome) {
  auto tree = image.fs().tree(entry.id.subvolume);
  if (!count(tree, outcome)) return;
  Cursor cursor(*tree);
  const Attributes& file = entry.attributes;
  // A directory's way down is followed by name too, as a lookup does.
  if (outcome.entries % 4 == 0) {
    count(resolve(image.fs(), image.root(), entry.path), outcome);
    (void)resolve(image.fs(), image.root(), entry.path, LastSymlink::follow);
  }
  (void)file.to_stat(image.fs().geometry().sectorsize);
  if (entry.id.is_empty_subvolume()) return;
  count(for_each_xattr(cursor, file.inode, [](std::string_view, Bytes) -> Result<void> { return {}; }),
        outcome);
  if (file.is_symlink()) count(read_symlink(cursor, file), outcome);
  if (!file.is_regular()) return;
  buffer_.resize(1 << 20);
  // The start, an odd place in the middle, the end.
  for (uint64_t from : {uint64_t{0}, file.size / 2 + 1, file.size < 5000 ? file.size : file.size - 5000}) {
    size_t some = std::min<uint64_t>({buffer_.size(), bytes_left, file.size});
    std::vector<DataReader::Failure> failures;
    count(reader.read_salvaging(*tree, file, from, MutableBytes(buffer_).first(some), failures), outcome);
    outcome.errors += failures.size();
    bytes_left -= std::min<uint64_t>(bytes_left, some);
  }
  uint64_t at = 0;
  for (int steps = 0; steps < 1000 && at < file.size; ++steps) {
    auto data = reader.seek_data(*tree, file, at);
    if (!count(data, outcome) || !*data) break;
    auto hole = reader.seek_hole(*tree, file, **data);
    if (!count(hole, outcome) || !*hole) break;
    if (**hole <= at) std::abort();
    at = **hole;
  }
}

void Mutator::operator()(Devices& devices) {
  // The same changes each time that devices are made.
  std::mt19937_64 random = random_;
  const auto count = 1 + (random() % 4 == 0 ? random() % 6 : 0);
  for (uint64_t i = 0; i < count; ++i) mutate(devices, random);
}

void Mutator::mutate(Devices& devices, std::mt19937_64& random) const {
  if (random() % 8 == 0) {
    const uint64_t seed = random();
    for (auto& device : devices)
      for_each_superblock(*device, [&](Superblock& super) {
        std::mt19937_64 same(seed);
        // Anything but the checksum and the magic number: in the fields, or in the chunk array.
        bool array = same() % 2;
        uint64_t from = array ? offsetof(Superblock, sys_chunk_array) : 48;
        uint64_t to = array ? from + super.sys_chunk_array_size % system_chunk_array_size + 1
                            : offsetof(Superblock, label);
        change_bytes(mutable_bytes(super), from, to, same);
        super.magic = superblock_magic;
      });
    return;
  }
  const auto& blocks = image_.blocks();
  const auto& block = blocks[random() % blocks.size()];
  const auto& other = blocks[random() % blocks.size()];
  image_.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
    const uint64_t size = bytes.size();
    switch (random() % 8) {
      case 0: return change_bytes(bytes, checksum_field_size, sizeof(Header), random);
      case 1:
      case 2: return change_bytes(bytes, sizeof(Header), block.used, random);
      case 3: return put(bytes, sizeof(Header) + random() % (block.used - sizeof(Header) + 1), other.bytenr);
      case 4: return put(bytes, random() % size, other.bytenr);
      default:
        // Items lie at the end of the block.
        return change_bytes(bytes, block.level > 0 ? sizeof(Header) : first_item(bytes), size, random);
    }
  });
}

void Mutator::change_bytes(MutableBytes bytes, uint64_t from, uint64_t to, std::mt19937_64& random) const {
  to = std::min<uint64_t>(to, bytes.size());
  if (from >= to) return;
  const uint64_t at = from + random() % (to - from);
  switch (random() % 4) {
    case 0: bytes[at] ^= std::byte(1 << random() % 8); return;
    case 1:
      for (uint64_t i = at; i < std::min(to, at + 1 + random() % 16); ++i) bytes[i] = std::byte(random());
      return;
    default: break;
  }
  const uint64_t edges[] = {0,
                            1,
                            2,
                            127,
                            255,
                            256,
                            4096,
                            65535,
                            131072,
                            131073,
                            1ull << 31,
                            (1ull << 32) - 1,
                            1ull << 32,
                            1ull << 62,
                            (1ull << 63) - 1,
                            1ull << 63,
                            ~0ull,
                            ~0ull - 4095,
                            image_.geometry().nodesize,
                            image_.geometry().sectorsize};
  const le64 value = edges[random() % std::size(edges)];
  const size_t width = size_t{1} << random() % 4;
  for (size_t i = 0; i < width && at + i < to; ++i) bytes[at + i] = bytes_of(value)[i];
}

}  // namespace karst::btrfs::testing
