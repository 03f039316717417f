// Sorting more records than memory holds.
//
//   ExternalSorter sorter({.memory = 32 << 20, .directory = "/var/tmp"});
//   TRY(sorter.add(key, value));  …  TRY(sorter.finish());
//   for (auto reader = sorter.reader(); TRY(reader.next());) use(reader.key(), reader.value());
//
// A record is a key and a value, both bytes. Records come out in the order of their keys as memcmp has it, a
// key before the longer ones that begin with it; those with equal keys in the order in which they were added.
//
// Up to `memory` bytes of records are kept; then they are sorted and written, keys without the beginning they
// share with the one before, as a run to an unlinked temporary file. finish() merges runs until one is left,
// so that any number of readers costs little each. Records that arrive in order are never sorted: they
// make one run, however long it is, and nothing is merged.
//
// Memory: `memory`, with what sorting needs of it (16 bytes a record), and for each reader of a spilled
// sorter, and for each run being merged (at most 16), a buffer of 128 KiB. What is spilled, is gone from
// memory after finish().
//
// Thread-safety: one thread adds and finishes. After that reader() and the readers may be used by any
// threads, each reader by one; the sorter outlives them.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/bytes.h"
#include "core/result.h"

namespace karst {

class ExternalSorter {
 public:
  struct Options {
    uint64_t memory = uint64_t{32} << 20;
    std::string directory = "/var/tmp";        // of the temporary file, which is made only if it is needed
    uint64_t spill_limit = uint64_t{1} << 50;  // bytes of temporary files at once; more is err::no_space
  };
  explicit ExternalSorter(Options options);
  ~ExternalSorter();
  ExternalSorter(ExternalSorter&&) noexcept;
  ExternalSorter& operator=(ExternalSorter&&) noexcept;

  // The bytes are copied. err::limit for a record of 1 GiB or more; errors of the temporary file, after which
  // the sorter is of no use.
  Result<void> add(Bytes key, Bytes value);

  // No more records. Gives errors of the temporary file.
  Result<void> finish();

  uint64_t record_count() const;
  uint64_t spilled_bytes() const;  // written to temporary files so far, merges included

  // Goes over all records in order, once.
  class Reader {
   public:
    Reader(Reader&&) noexcept;
    Reader& operator=(Reader&&) noexcept;
    ~Reader();
    // To the next record, the first at first; false at the end.
    Result<bool> next();
    // Of the record that next() went to; until the next call of it.
    Bytes key() const { return key_; }
    Bytes value() const { return value_; }

   private:
    friend class ExternalSorter;
    struct State;
    explicit Reader(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
    Bytes key_, value_;
  };
  Reader reader() const;  // after finish()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace karst
