// What is said about one path, in turn, folded into what is there in the end (the table in inventory.h).
#pragma once
#include "btrfs/tool/build/record.h"

namespace karst::btrfs::build {

class Fold {
 public:
  struct Defaults {
    Time time;  // of directories that nothing describes
  };
  explicit Fold(Defaults defaults) : defaults_(defaults) {}

  // Begins a path, of which a copy is kept. At the sequence `barrier` something above it was removed, and it
  // with that.
  void begin(uint64_t barrier, std::string_view path);
  // One more thing said. For a link, `value` is what it was resolved to, a put. Errors:
  // err::source_missing_path, err::source_not_a_directory; the state is as before then.
  Result<void> apply(uint64_t sequence, Bytes value);
  // A link to the path as it is now was asked for: from now on it has a link key, unless it cannot have
  // links.
  Result<void> name_as_link_target(uint64_t sequence);
  // Nothing more is said.
  Result<void> end() { return pass_barrier(~uint64_t{0}); }

  bool exists() const { return exists_; }
  bool is_directory() const { return exists_ && (mode_of(value_) & mode::type_mask) == mode::directory; }
  // Of what exists, an encoded put or subvolume. May be changed until begin().
  RecordBytes& value() { return value_; }
  // What was said before about anything below this path does not count.
  uint64_t barrier() const { return barrier_; }
  // Called with each put that no longer counts, as it then was.
  using Dropped = std::function<Result<void>(Bytes value)>;
  void on_dropped(Dropped dropped) { dropped_ = std::move(dropped); }

 private:
  Result<void> put(uint64_t sequence, Bytes value);
  Result<void> patch(uint64_t sequence, const Record& change);
  Result<void> ensure_directory();
  Result<void> drop();
  Result<void> pass_barrier(uint64_t sequence);

  const Defaults defaults_;
  Dropped dropped_;
  std::string path_;
  uint64_t removed_at_ = 0, barrier_ = 0;
  bool removed_ = false;  // removed_at_ has been passed
  bool exists_ = false;
  uint64_t put_sequence_ = 0;
  RecordBytes value_, scratch_;
};

}  // namespace karst::btrfs::build
