#include "btrfs/tool/build/fold.h"

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {
bool is_directory_mode(uint32_t mode) { return (mode & mode::type_mask) == mode::directory; }
}  // namespace

void Fold::begin(uint64_t barrier, std::string_view path) {
  path_ = path;
  ignored_before_ = barrier_ = barrier;
  exists_ = false;
  put_sequence_ = 0;
}

Result<void> Fold::drop(Bytes value) {
  if (!dropped_ || content_of(value) != ContentKind::stored) return {};
  return dropped_(decode_record(value, path_).content_bytes);
}

Result<void> Fold::apply(uint64_t sequence, Bytes value) {
  if (sequence < ignored_before_) return drop(value);
  switch (kind_of(value)) {
    case RecordKind::put:
    case RecordKind::subvolume: return put(sequence, value);
    case RecordKind::patch: return patch(sequence, decode_record(value, path_));
    case RecordKind::ensure_directory: return ensure_directory();
    case RecordKind::remove:
      if (exists_) TRY(drop(value_));
      exists_ = false;
      barrier_ = sequence;
      return {};
    case RecordKind::clear: barrier_ = sequence; return {};
    case RecordKind::link:
    case RecordKind::link_target: return {};
  }
  return {};
}

Result<void> Fold::put(uint64_t sequence, Bytes value) {
  if (exists_) {
    TRY(drop(value_));
    if (is_directory() && !is_directory_mode(mode_of(value))) barrier_ = sequence;
  }
  exists_ = true;
  put_sequence_ = sequence;
  value_.assign(value.begin(), value.end());
  return {};
}

Result<void> Fold::patch(uint64_t sequence, const Record& change) {
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

void Fold::name_as_link_target() {
  if (!exists_ || has_link_key(value_)) return;
  Record record = decode_record(value_, path_);
  record.link_key = LinkKey{.source = ~uint64_t{0}, .device = 0, .inode = put_sequence_};
  encode_record(scratch_, record, path_);
  value_.swap(scratch_);
}

}  // namespace karst::btrfs::build
