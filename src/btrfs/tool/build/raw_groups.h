// The raw records of an inventory, path by path.
#pragma once
#include "btrfs/tool/build/record.h"
#include "core/external_sorter.h"

namespace karst::btrfs::build {

class RawGroups {
 public:
  // `resolved`: links by their whole keys, with the puts they stand for; nullptr if there are none.
  RawGroups(const ExternalSorter& raw, const ExternalSorter* resolved);

  // To the next path; false at the end. What was not read of the one before is skipped.
  Result<bool> next_path();
  // Settled key of the path. Until next_path().
  KeyView path() const { return view_settled_key(path_); }

  // To the next record about the path; false after the last.
  Result<bool> next_record();
  // Of the record. Until next_record().
  Bytes key() const { return raw_.key(); }
  uint64_t sequence() const { return view_key(raw_.key()).sequence; }
  Bytes value() const { return raw_.value(); }
  // What a record of the kind `link` stands for; nothing if that is not known.
  Result<std::optional<Bytes>> resolved();

 private:
  ExternalSorter::Reader raw_;
  std::optional<ExternalSorter::Reader> links_;
  bool started_ = false, more_ = false, links_more_ = true, at_first_ = false;
  RecordBytes path_;
};

}  // namespace karst::btrfs::build
