#include "btrfs/tool/build/fold.h"

#include <algorithm>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {
bool is_directory_mode(uint32_t mode) { return (mode & mode::type_mask) == mode::directory; }
}  // namespace

void Fold::begin(uint64_t barrier, std::string_view path) {
  path_ = path;
  removed_at_ = barrier_ = barrier;
  removed_ = false;
  exists_ = false;
  put_sequence_ = 0;
}

Result<void> Fold::drop() {
  if (!exists_) return {};
  exists_ = false;
  return dropped_ ? dropped_(value_) : Result<void>();
}

Result<void> Fold::pass_barrier(uint64_t sequence) {
  if (removed_ || sequence < removed_at_) return {};
  removed_ = true;
  return drop();
}

Result<void> Fold::apply(uint64_t sequence, Bytes value) {
  TRY(pass_barrier(sequence));
  switch (kind_of(value)) {
    case RecordKind::put:
    case RecordKind::subvolume: return put(sequence, value);
    case RecordKind::patch: return patch(sequence, decode_record(value, path_));
    case RecordKind::ensure_directory: return ensure_directory();
    case RecordKind::remove: barrier_ = std::max(barrier_, sequence); return drop();
    case RecordKind::clear: barrier_ = std::max(barrier_, sequence); return {};
    case RecordKind::link:
    case RecordKind::link_target: return {};
  }
  return {};
}

Result<void> Fold::put(uint64_t sequence, Bytes value) {
  if (is_directory() && !is_directory_mode(mode_of(value))) barrier_ = std::max(barrier_, sequence);
  TRY(drop());
  exists_ = true;
  put_sequence_ = sequence;
  value_.assign(value.begin(), value.end());
  return {};
}

Result<void> Fold::patch(uint64_t sequence, const Record& change) {
  if (!exists_ && !removed_) return {};  // whatever it was, it is gone in the end
  if (!exists_)
    return Error(err::source_missing_path, "no source has what is to be changed: /" + shown_path(path_));
  Record record = decode_record(value_, path_);
  change.patch->apply(record.attributes);
  record.attributes_sequence = sequence;
  XattrChanges before, later;
  decode_xattrs(record.xattr_bytes, before);
  decode_xattrs(change.xattr_bytes, later);
  const XattrChanges merged =
      merge_xattrs(before, later, record.origin.has_value() && record.origin->read_xattrs);
  record.xattrs = &merged;
  record.xattr_bytes = {};
  encode_record(scratch_, record, path_);
  value_.swap(scratch_);
  return {};
}

Result<void> Fold::ensure_directory() {
  if (exists_ && !is_directory() && !removed_) return {};
  if (exists_ && !is_directory())
    return Error::make(err::source_not_a_directory, "/{} is no directory, and something is to be in it",
                       shown_path(path_));
  if (exists_) return {};
  Record record;
  record.attributes.atime = record.attributes.mtime = record.attributes.ctime = record.attributes.otime =
      defaults_.time;
  encode_record(value_, record, path_);
  exists_ = true;
  return {};
}

Result<void> Fold::name_as_link_target(uint64_t sequence) {
  TRY(pass_barrier(sequence));
  if (!exists_ || is_directory() || has_link_key(value_)) return {};
  Record record = decode_record(value_, path_);
  record.link_key = LinkKey{.source = ~uint64_t{0}, .device = 0, .inode = put_sequence_};
  encode_record(scratch_, record, path_);
  value_.swap(scratch_);
  return {};
}

}  // namespace karst::btrfs::build
