#include "btrfs/tool/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <cstring>
#include <memory>

#include "core/endian.h"

namespace karst::btrfs {
namespace {

struct EntryDeleter {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
using EntryHandle = std::unique_ptr<archive_entry, EntryDeleter>;

const std::array<std::byte, 10240 + 1024> zero_bytes{};

// The value of system.posix_acl_access and system.posix_acl_default.
// Source: Linux include/uapi/linux/posix_acl_xattr.h.
struct AclHeader {
  le32 version;
};
struct AclEntry {
  le16 tag, perm;
  le32 id;
};
constexpr uint32_t acl_version = 2;

// Gives the entry its ACL; false if the value is not one.
bool add_acl(archive_entry* entry, int type, std::string_view value) {
  Bytes bytes = as_bytes(value);
  const auto* header = overlay<AclHeader>(bytes);
  if (!header || header->version != acl_version || (bytes.size() - sizeof *header) % sizeof(AclEntry) != 0) return false;
  for (size_t at = sizeof *header; at < bytes.size(); at += sizeof(AclEntry)) {
    const auto& acl = *overlay<AclEntry>(bytes, at);
    int tag;
    switch (acl.tag) {
      case 0x01: tag = ARCHIVE_ENTRY_ACL_USER_OBJ; break;
      case 0x02: tag = ARCHIVE_ENTRY_ACL_USER; break;
      case 0x04: tag = ARCHIVE_ENTRY_ACL_GROUP_OBJ; break;
      case 0x08: tag = ARCHIVE_ENTRY_ACL_GROUP; break;
      case 0x10: tag = ARCHIVE_ENTRY_ACL_MASK; break;
      case 0x20: tag = ARCHIVE_ENTRY_ACL_OTHER; break;
      default: return false;
    }
    int id = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP ? static_cast<int>(acl.id.value()) : -1;
    archive_entry_acl_add_entry(entry, type, acl.perm & 7, tag, id, nullptr);
  }
  return true;
}

void add_xattr(archive_entry* entry, const std::string& name, const std::string& value) {
  if (name == "system.posix_acl_access" && add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, value)) return;
  if (name == "system.posix_acl_default" && add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, value)) return;
  archive_entry_xattr_add_entry(entry, name.c_str(), value.data(), value.size());
}

EntryHandle make_entry(const TarEntry& from) {
  EntryHandle handle(archive_entry_new());
  archive_entry* entry = handle.get();
  const Attributes& attributes = from.attributes;
  archive_entry_set_pathname(entry, from.path.c_str());
  archive_entry_set_mode(entry, attributes.mode);
  archive_entry_set_uid(entry, attributes.uid);
  archive_entry_set_gid(entry, attributes.gid);
  archive_entry_set_mtime(entry, attributes.mtime.tv_sec, attributes.mtime.tv_nsec);
  archive_entry_set_atime(entry, attributes.atime.tv_sec, attributes.atime.tv_nsec);
  archive_entry_set_ctime(entry, attributes.ctime.tv_sec, attributes.ctime.tv_nsec);
  if (S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode)) archive_entry_set_rdev(entry, attributes.rdev);
  archive_entry_set_size(entry, 0);
  if (!from.hardlink.empty()) {
    archive_entry_set_hardlink(entry, from.hardlink.c_str());
    return handle;
  }
  if (attributes.is_symlink()) archive_entry_set_symlink(entry, from.symlink.c_str());
  if (attributes.is_regular()) archive_entry_set_size(entry, static_cast<la_int64_t>(attributes.size));
  for (const auto& [name, value] : from.xattrs) add_xattr(entry, name, value);
  if (from.sparse) {
    for (const auto& [offset, length] : from.data)
      archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(offset), static_cast<la_int64_t>(length));
    // A file that is one hole has one empty piece of data at its end.
    if (from.data.empty()) archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(attributes.size), 0);
  }
  return handle;
}

}  // namespace

void TarBuffers::borrow(Bytes bytes) {
  if (bytes.empty()) return;
  parts_.push_back({bytes.data(), 0, bytes.size()});
  size_ += bytes.size();
}

void TarBuffers::own(Bytes bytes) {
  if (bytes.empty()) return;
  size_t offset = owned_.size();
  owned_.insert(owned_.end(), bytes.begin(), bytes.end());
  size_ += bytes.size();
  if (!parts_.empty() && !parts_.back().borrowed && parts_.back().offset + parts_.back().length == offset) {
    parts_.back().length += bytes.size();
    return;
  }
  parts_.push_back({nullptr, offset, bytes.size()});
}

void TarBuffers::zeroes(size_t count) { borrow(Bytes(zero_bytes).first(count)); }

std::span<iovec> TarBuffers::vectors() {
  vectors_.clear();
  for (const Part& part : parts_) {
    const std::byte* start = part.borrowed ? part.borrowed : owned_.data() + part.offset;
    vectors_.push_back({const_cast<std::byte*>(start), part.length});
  }
  return vectors_;
}

void TarBuffers::clear() {
  owned_.clear();
  parts_.clear();
  size_ = 0;
}

TarWriter::TarWriter(TarBuffers& out) : out_(out), archive_(archive_write_new()) {
  archive_write_set_format_pax(archive_);
  // One form of extended attributes, the one that GNU tar, bsdtar and star all read.
  archive_write_set_format_option(archive_, "pax", "xattrheader", "SCHILY");
  archive_write_set_bytes_per_block(archive_, 0);
  archive_write_open(archive_, this, nullptr, write_callback, nullptr);
}

TarWriter::~TarWriter() {
  // Whoever puts the pieces together ends the archive, once; this one is only dropped.
  archive_write_fail(archive_);
  archive_write_free(archive_);
}

ssize_t TarWriter::write_callback(archive*, void* self, const void* buffer, size_t length) {
  auto& writer = *static_cast<TarWriter*>(self);
  Bytes bytes{static_cast<const std::byte*>(buffer), length};
  bool ours = !writer.contents_.empty() && bytes.data() >= writer.contents_.data() &&
              bytes.data() < writer.contents_.data() + writer.contents_.size();
  if (ours) writer.out_.borrow(bytes);
  else writer.out_.own(bytes);
  return static_cast<ssize_t>(length);
}

Result<void> TarWriter::write_header(const TarEntry& entry) {
  EntryHandle handle = make_entry(entry);
  // A warning says that a name is not valid text; it is then written as the bytes it is.
  if (archive_write_header(archive_, handle.get()) < ARCHIVE_WARN)
    return Error(karst::err::io, fmt::format("writing the archive: {}", archive_error_string(archive_)));
  return {};
}

Result<void> TarWriter::add(const TarEntry& entry, Bytes contents) {
  contents_ = contents;
  TRY(write_header(entry));
  if (!contents.empty() && archive_write_data(archive_, contents.data(), contents.size()) < 0)
    return Error(karst::err::io, fmt::format("writing the archive: {}", archive_error_string(archive_)));
  if (archive_write_finish_entry(archive_) < ARCHIVE_WARN)
    return Error(karst::err::io, fmt::format("writing the archive: {}", archive_error_string(archive_)));
  contents_ = {};
  return {};
}

Result<void> TarWriter::add_header(const TarEntry& entry) { return write_header(entry); }

}  // namespace karst::btrfs
