#include "btrfs/tool/build/layout_digest.h"

#include "core/checksum.h"

namespace karst::btrfs::build {
namespace {

// Facts one after the other, each with its length before it, so that no two lists are one text.
class Digest {
 public:
  void add(std::string_view bytes) {
    add(bytes.size());
    text_ += bytes;
    if (text_.size() >= most) fold();
  }
  void add(uint64_t number) { text_ += as_text(bytes_of(le64(number))); }
  void add(Time time) {
    add(static_cast<uint64_t>(time.seconds));
    add(uint64_t{time.nanoseconds});
  }
  std::string text() {
    fold();
    std::string hex;
    for (char byte : text_) hex += fmt::format("{:02x}", static_cast<uint8_t>(byte));
    return hex;
  }

 private:
  static constexpr size_t most = 1 << 16;
  void fold() { text_ = as_text(Bytes(compute_checksum(ChecksumType::sha256, as_bytes(text_)).bytes)); }
  std::string text_;
};

void add_subvolume(const Subvolume& subvolume, Digest& digest) {
  digest.add(subvolume.id);
  digest.add(subvolume.name);
  digest.add(uint64_t{subvolume.readonly} << 1 | uint64_t{subvolume.is_default});
  digest.add(subvolume.snapshot_of ? *subvolume.snapshot_of + 1 : 0);
}

void add_inode(const Inode& inode, Digest& digest) {
  const Attributes& attributes = inode.attributes;
  for (uint64_t number : {inode.number, uint64_t{attributes.mode}, uint64_t{attributes.uid},
                          uint64_t{attributes.gid}, attributes.rdev(), attributes.size})
    digest.add(number);
  for (const Time& time : {attributes.atime, attributes.mtime, attributes.ctime, attributes.otime})
    digest.add(time);
  digest.add(uint64_t{static_cast<uint8_t>(inode.properties.compression)} << 1 |
             uint64_t{inode.properties.nodatacow});
  for (const XattrChange& xattr : inode.xattrs) {
    digest.add(xattr.name);
    digest.add(xattr.value.value_or(""));
  }
  if (inode.content == ContentKind::bytes) digest.add(as_text(inode.content_bytes));
}

}  // namespace

Result<std::string> digest_of(const Layout& layout) {
  Digest digest;
  Walk walk = layout.walk();
  while (const Subvolume* subvolume = TRY(walk.next_subvolume())) {
    add_subvolume(*subvolume, digest);
    while (const Inode* inode = TRY(walk.next())) {
      add_inode(*inode, digest);
      while (const Child* child = TRY(walk.next_child())) {
        digest.add(child->name);
        digest.add(child->number);
      }
    }
  }
  return digest.text();
}

}  // namespace karst::btrfs::build
