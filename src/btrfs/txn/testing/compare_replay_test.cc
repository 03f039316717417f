#include "btrfs/txn/testing/compare_replay.h"

#include <map>

#include "btrfs/txn/inode_items.h"

namespace karst::btrfs::testing {
namespace {

class Comparison {
 public:
  Comparison(const Image& ours, const Image& kernels, const CompareOptions& options)
      : ours_(ours), kernels_(kernels), options_(options) {}

  Result<std::vector<std::string>> run() {
    for (const Subvolume& subvolume : TRY(list_subvolumes(ours_.fs()))) {
      Tree ours = TRY(ours_.fs().tree(subvolume.id())), kernels = TRY(kernels_.fs().tree(subvolume.id()));
      TRY(compare_items(ours, kernels));
      TRY(compare_contents(ours, kernels));
    }
    return std::move(differences_);
  }

 private:
  bool enough() const { return differences_.size() >= options_.differences; }

  Result<void> compare_items(const Tree& ours, const Tree& kernels) {
    Cursor a(ours), b(kernels);
    bool in_a = TRY(a.seek(Key::min())), in_b = TRY(b.seek(Key::min()));
    while ((in_a || in_b) && !enough()) {
      if (in_a && (!in_b || a.key() < b.key())) {
        differences_.push_back(fmt::format("tree {}: only ours: {}", ours.id, a.key()));
        in_a = TRY(a.next());
      } else if (in_b && (!in_a || b.key() < a.key())) {
        differences_.push_back(fmt::format("tree {}: only the kernel's: {}", ours.id, b.key()));
        in_b = TRY(b.next());
      } else {
        compare_item(ours.id, a.key(), a.data(), b.data());
        in_a = TRY(a.next());
        in_b = TRY(b.next());
      }
    }
    return {};
  }

  void compare_item(uint64_t tree, const Key& key, Bytes ours, Bytes kernels) {
    if (as_text(ours) == as_text(kernels)) return;
    std::string why;
    if (key.type == ItemType::inode_item) {
      why = inode_difference(*overlay<InodeItem>(ours), *overlay<InodeItem>(kernels));
      if (why.empty()) return;
    } else {
      why = fmt::format("{} bytes: {}; kernel's {} bytes: {}", ours.size(), hex(ours), kernels.size(),
                        hex(kernels));
    }
    differences_.push_back(fmt::format("tree {}: {}: {}", tree, key, why));
  }

  static std::string hex(Bytes bytes) {
    std::string text;
    for (std::byte byte : bytes.first(std::min<size_t>(bytes.size(), 64)))
      text += fmt::format("{:02x}", static_cast<int>(byte));
    return text;
  }

  std::string inode_difference(InodeItem ours, InodeItem kernels) const {
    std::string text;
    auto compare = [&](const char* name, auto a, auto b) {
      if (a != b) text += fmt::format("{} {} (kernel's {}) ", name, a, b);
    };
    auto compare_time = [&](const char* name, Timespec a, Timespec b) {
      if (b.seconds < options_.mounted_at) compare(name, a.seconds.value(), b.seconds.value());
    };
    compare("generation", ours.generation.value(), kernels.generation.value());
    compare("transid", ours.transid.value(), kernels.transid.value());
    compare("size", ours.size.value(), kernels.size.value());
    compare("nbytes", ours.nbytes.value(), kernels.nbytes.value());
    compare("nlink", ours.nlink.value(), kernels.nlink.value());
    compare("uid", ours.uid.value(), kernels.uid.value());
    compare("gid", ours.gid.value(), kernels.gid.value());
    compare("mode", ours.mode.value(), kernels.mode.value());
    compare("rdev", ours.rdev.value(), kernels.rdev.value());
    compare("flags", ours.flags.value(), kernels.flags.value());
    compare("sequence", ours.sequence.value(), kernels.sequence.value());
    compare_time("atime", ours.atime, kernels.atime);
    compare_time("ctime", ours.ctime, kernels.ctime);
    compare_time("mtime", ours.mtime, kernels.mtime);
    compare_time("otime", ours.otime, kernels.otime);
    return text;
  }

  // Reads every file on both sides.
  Result<void> compare_contents(const Tree& ours, const Tree& kernels) {
    DataReader ours_reader(ours_.fs(), ours_.data()), kernels_reader(kernels_.fs(), kernels_.data());
    Cursor inodes(ours), other(kernels);
    for (bool more = TRY(inodes.seek(Key::min())); more && !enough(); more = TRY(inodes.next())) {
      if (inodes.key().type != ItemType::inode_item) continue;
      uint64_t inode = inodes.key().objectid;
      Attributes a = attributes_from_item(inode, *inodes.as<InodeItem>());
      if (!a.is_regular() || !TRY(other.find(inode_key(inode)))) continue;
      Attributes b = attributes_from_item(inode, *other.as<InodeItem>());
      auto mine = contents(ours_reader, ours, a), theirs = contents(kernels_reader, kernels, b);
      if (!mine)
        differences_.push_back(fmt::format("tree {}: inode {}: {}", ours.id, inode, mine.error().message()));
      else if (theirs && *mine != *theirs)
        differences_.push_back(fmt::format("tree {}: inode {}: contents differ", ours.id, inode));
    }
    return {};
  }

  static Result<std::vector<std::byte>> contents(DataReader& reader, const Tree& tree,
                                                 const Attributes& file) {
    constexpr size_t biggest = 64 << 20;
    if (file.size > biggest) return Error(karst::err::limit, "file too big to compare");
    std::vector<std::byte> bytes(file.size);
    bytes.resize(TRY(reader.read(tree, file, 0, bytes)));
    return bytes;
  }

  const Image& ours_;
  const Image& kernels_;
  const CompareOptions options_;
  std::vector<std::string> differences_;
};

}  // namespace

Result<std::vector<std::string>> compare_replay(const Image& ours, const Image& kernels,
                                                const CompareOptions& options) {
  return Comparison(ours, kernels, options).run();
}

}  // namespace karst::btrfs::testing
