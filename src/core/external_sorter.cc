#include "core/external_sorter.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "core/assert.h"
#include "core/sorted_run.h"

namespace karst {
namespace {
constexpr size_t min_chunk = 16 << 10, max_chunk = 1 << 20;
constexpr size_t max_merge = 16;
constexpr uint64_t max_record = uint64_t{1} << 30;

// How a record lies in memory; its key and value follow.
struct Head {
  uint32_t key_size, value_size;
};

struct Chunk {
  std::unique_ptr<std::byte[]> bytes;
  size_t capacity = 0, used = 0;
};

// A record to be sorted. Positions ascend in the order of adding, which keeps equal keys in it.
struct Slot {
  uint64_t prefix;    // eight bytes of the key, after those that all keys share, as a number
  uint64_t position;  // chunk << 32 | offset
};
}  // namespace

// Records in memory, in the order of adding, and, if that is not theirs, the order of their keys.
class SortedMemory {
 public:
  struct View {
    Bytes key, value;
    size_t size;  // bytes in the chunk
  };

  static size_t size_of(Bytes key, Bytes value) { return sizeof(Head) + key.size() + value.size(); }
  // Bytes that adding this much more would allocate.
  size_t growth(size_t record) const {
    if (!chunks_.empty() && record <= chunks_.back().capacity - chunks_.back().used) return 0;
    return next_chunk(record);
  }
  uint64_t allocated() const { return allocated_; }
  uint64_t count() const { return count_; }
  bool in_order() const { return in_order_; }
  // Whether a record with this key keeps the order.
  bool follows(Bytes key) const { return count_ == 0 || compare_keys(view(last_).key, key) <= 0; }

  void add(Bytes key, Bytes value) {
    in_order_ = in_order_ && follows(key);
    const size_t size = size_of(key, value);
    if (size_t more = growth(size)) {
      chunks_.push_back({std::make_unique_for_overwrite<std::byte[]>(more), more, 0});
      allocated_ += more;
    }
    Chunk& chunk = chunks_.back();
    std::byte* at = chunk.bytes.get() + chunk.used;
    const Head head{static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())};
    std::memcpy(at, &head, sizeof head);
    if (!key.empty()) std::memcpy(at + sizeof head, key.data(), key.size());
    if (!value.empty()) std::memcpy(at + sizeof head + key.size(), value.data(), value.size());
    last_ = uint64_t{chunks_.size() - 1} << 32 | chunk.used;
    chunk.used += size;
    ++count_;
  }

  void sort();

  View view(uint64_t position) const {
    const std::byte* at = chunks_[position >> 32].bytes.get() + static_cast<uint32_t>(position);
    Head head;
    std::memcpy(&head, at, sizeof head);
    at += sizeof head;
    return {Bytes(at, head.key_size), Bytes(at + head.key_size, head.value_size),
            sizeof head + head.key_size + head.value_size};
  }

  // Goes over the records; after sort().
  struct Cursor {
    uint64_t position = 0;  // of the next record in adding order
    size_t slot = 0;        // or among the slots
  };
  std::optional<View> next(Cursor& cursor) const {
    if (!slots_.empty())
      return cursor.slot == slots_.size() ? std::nullopt
                                          : std::optional(view(slots_[cursor.slot++].position));
    size_t chunk = cursor.position >> 32;
    if (chunk < chunks_.size() && static_cast<uint32_t>(cursor.position) == chunks_[chunk].used)
      cursor.position = uint64_t{++chunk} << 32;
    if (chunk >= chunks_.size()) return std::nullopt;
    View record = view(cursor.position);
    cursor.position += record.size;
    return record;
  }

 private:
  size_t next_chunk(size_t record) const {
    size_t usual = chunks_.empty() ? min_chunk : std::min(max_chunk, chunks_.back().capacity * 2);
    return std::max(usual, record);
  }

  std::vector<Chunk> chunks_;
  uint64_t allocated_ = 0, count_ = 0, last_ = 0;
  bool in_order_ = true;
  std::vector<Slot> slots_;  // after sort(), if the order of adding is not that of the keys
};

void SortedMemory::sort() {
  if (in_order_ || !slots_.empty()) return;
  const Bytes first = view(0).key;
  size_t shared = first.size();
  for (Cursor cursor; auto record = next(cursor);) {
    shared = std::min(shared, record->key.size());
    while (std::memcmp(first.data(), record->key.data(), shared) != 0) --shared;
  }
  std::vector<Slot> slots;
  slots.reserve(count_);
  for (Cursor cursor; auto record = next(cursor);) {
    uint64_t prefix = 0;
    std::memcpy(&prefix, record->key.data() + shared, std::min(record->key.size() - shared, sizeof prefix));
    if constexpr (std::endian::native == std::endian::little) prefix = __builtin_bswap64(prefix);
    slots.push_back({prefix, cursor.position - record->size});
  }
  std::sort(slots.begin(), slots.end(), [this](const Slot& a, const Slot& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    int order = compare_keys(view(a.position).key, view(b.position).key);
    return order != 0 ? order < 0 : a.position < b.position;
  });
  slots_ = std::move(slots);
}

struct ExternalSorter::State {
  explicit State(Options the_options) : options(std::move(the_options)) {}

  Result<void> spill();
  Result<void> merge_once();
  Result<void> merge(std::span<const SortedRun> from, RunWriter& to) const;

  const Options options;
  uint64_t count = 0, spilled = 0;
  bool finished = false;
  SortedMemory memory;
  std::optional<SpillFile> file;
  std::vector<SortedRun> runs;
};

ExternalSorter::ExternalSorter(Options options) : state_(std::make_unique<State>(std::move(options))) {}
ExternalSorter::~ExternalSorter() = default;
ExternalSorter::ExternalSorter(ExternalSorter&&) noexcept = default;
ExternalSorter& ExternalSorter::operator=(ExternalSorter&&) noexcept = default;

Result<void> ExternalSorter::add(Bytes key, Bytes value) {
  State& state = *state_;
  VERIFY(!state.finished);
  if (key.size() >= max_record || value.size() >= max_record - key.size())
    return Error::make(err::limit, "a record of {} bytes is too big to sort", key.size() + value.size());
  const bool keeps_order = state.memory.in_order() && state.memory.follows(key);
  const uint64_t needed = state.memory.allocated() + state.memory.growth(SortedMemory::size_of(key, value)) +
                          (keeps_order ? 0 : (state.memory.count() + 1) * sizeof(Slot));
  if (needed > state.options.memory && state.memory.count() > 0) TRY(state.spill());
  state.memory.add(key, value);
  ++state.count;
  return {};
}

// The records in memory go to the end of the last run if they all follow it, and to a new one if not.
Result<void> ExternalSorter::State::spill() {
  memory.sort();
  if (!file) file.emplace(TRY(SpillFile::create(options.directory, options.spill_limit)));
  SortedMemory::Cursor cursor;
  auto record = memory.next(cursor);
  RunWriter writer(*file);
  if (!runs.empty() && compare_keys(runs.back().last_key, record->key) <= 0) {
    writer.begin(std::move(runs.back()));
    runs.pop_back();
  } else {
    writer.begin();
  }
  const uint64_t before = file->size();
  for (; record; record = memory.next(cursor)) TRY(writer.add(record->key, record->value));
  runs.push_back(TRY(writer.end()));
  spilled += file->size() - before;
  memory = SortedMemory();
  return {};
}

Result<void> ExternalSorter::State::merge(std::span<const SortedRun> from, RunWriter& to) const {
  std::vector<RunReader> readers;
  readers.reserve(from.size());
  for (const SortedRun& run : from) readers.emplace_back(*file, run);
  // A heap of readers, the one with the least key on top; among equal keys, that of the earliest run.
  std::vector<RunReader*> heap;
  auto later = [](const RunReader* a, const RunReader* b) {
    int order = compare_keys(a->key(), b->key());
    return order != 0 ? order > 0 : a > b;
  };
  for (RunReader& reader : readers)
    if (TRY(reader.next())) heap.push_back(&reader);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    TRY(to.add(heap.back()->key(), heap.back()->value()));
    if (TRY(heap.back()->next()))
      std::push_heap(heap.begin(), heap.end(), later);
    else
      heap.pop_back();
  }
  return {};
}

// Each max_merge neighbouring runs become one, in a new file.
Result<void> ExternalSorter::State::merge_once() {
  SpillFile merged = TRY(SpillFile::create(options.directory, options.spill_limit - file->size()));
  std::vector<SortedRun> merged_runs;
  for (size_t i = 0; i < runs.size(); i += max_merge) {
    RunWriter writer(merged);
    writer.begin();
    TRY(merge(std::span(runs).subspan(i, std::min(max_merge, runs.size() - i)), writer));
    merged_runs.push_back(TRY(writer.end()));
  }
  spilled += merged.size();
  file.emplace(std::move(merged));
  runs = std::move(merged_runs);
  return {};
}

Result<void> ExternalSorter::finish() {
  State& state = *state_;
  VERIFY(!state.finished);
  state.finished = true;
  if (state.runs.empty()) {
    state.memory.sort();
    return {};
  }
  if (state.memory.count() > 0) TRY(state.spill());
  while (state.runs.size() > 1) TRY(state.merge_once());
  return {};
}

uint64_t ExternalSorter::record_count() const { return state_->count; }
uint64_t ExternalSorter::spilled_bytes() const { return state_->spilled; }

struct ExternalSorter::Reader::State {
  const SortedMemory* memory;
  SortedMemory::Cursor cursor;
  std::optional<RunReader> run;
};

ExternalSorter::Reader::Reader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ExternalSorter::Reader::Reader(Reader&&) noexcept = default;
ExternalSorter::Reader& ExternalSorter::Reader::operator=(Reader&&) noexcept = default;
ExternalSorter::Reader::~Reader() = default;

ExternalSorter::Reader ExternalSorter::reader() const {
  VERIFY(state_->finished);
  auto state = std::make_unique<Reader::State>(Reader::State{&state_->memory, {}, {}});
  if (!state_->runs.empty()) state->run.emplace(*state_->file, state_->runs.front());
  return Reader(std::move(state));
}

Result<bool> ExternalSorter::Reader::next() {
  if (state_->run) {
    const bool more = TRY(state_->run->next());
    key_ = state_->run->key();
    value_ = state_->run->value();
    return more;
  }
  auto record = state_->memory->next(state_->cursor);
  if (!record) return false;
  key_ = record->key;
  value_ = record->value;
  return true;
}

}  // namespace karst
