#include "btrfs/tool/build/inventory.h"

#include <algorithm>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/layout_state.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/placement.h"
#include "btrfs/tool/build/record.h"
#include "btrfs/tool/build/resolve.h"

namespace karst::btrfs::build {
namespace {

// Where something may be said about: in a snapshot there is what its origin has.
Result<Located> locate(const Placement& placement, std::string_view path) {
  const Located located = placement.locate(path);
  if (placement.subvolumes()[located.subvolume].snapshot_of)
    return Error(err::source_path_invalid, "in a snapshot nothing can be put: /" + shown_path(path));
  return located;
}

Result<void> check_room_for_subvolumes(const Placement& placement, std::string_view path,
                                       const Attributes& attributes) {
  if (attributes.is_directory() || placement.subvolumes().size() == 1) return {};
  const auto [first, last] = placement.at_or_below(path);
  if (first == last) return {};
  return Error::make(err::source_not_a_directory, "/{} is no directory, but subvolume {} is to be there",
                     shown_path(path), shown_path(placement.subvolumes()[first].path));
}

Record record_of(const Entry& entry, uint64_t sequence) {
  Record record;
  record.attributes = entry.attributes;
  record.content = entry.content;
  record.content_bytes = entry.content_bytes;
  if (entry.origin) record.origin = *entry.origin;
  if (entry.link_key) record.link_key = *entry.link_key;
  record.attributes_sequence = sequence;
  record.xattrs = entry.xattrs;
  return record;
}

// What EntryBatch and Inventory have in common. Replaces key and value.
Result<void> encode_put(const Placement& placement, uint64_t sequence, std::string_view path,
                        const Entry& entry, RecordBytes& key, RecordBytes& value) {
  TRY(check_room_for_subvolumes(placement, path, entry.attributes));
  const Located located = TRY(locate(placement, path));
  encode_key(key, located.subvolume, located.path);
  append_sequence(key, sequence);
  if (!entry.xattrs || entry.xattrs->empty()) {
    encode_record(value, record_of(entry, sequence), path);
    return {};
  }
  const XattrChanges sorted =
      merge_xattrs({}, *entry.xattrs, entry.origin != nullptr && entry.origin->read_xattrs);
  Entry with_sorted = entry;
  with_sorted.xattrs = &sorted;
  encode_record(value, record_of(with_sorted, sequence), path);
  return {};
}
}  // namespace

Result<void> EntryBatch::put(std::string_view path, const Entry& entry) {
  TRY(encode_put(*placement_, sequence_, path, entry, key_, value_));
  bytes_.insert(bytes_.end(), key_.begin(), key_.end());
  bytes_.insert(bytes_.end(), value_.begin(), value_.end());
  records_.push_back({static_cast<uint32_t>(key_.size()), static_cast<uint32_t>(value_.size())});
  return {};
}

struct Inventory::State {
  State(InventoryOptions the_options, Placement the_placement)
      : options(std::move(the_options)),
        placement(std::move(the_placement)),
        raw({.memory = options.memory, .directory = options.temporary_directory}) {}

  Result<void> say(const Located& where, uint64_t at, const Record& record, std::string_view path);
  Result<void> ensure_directory(std::string_view path);
  Result<void> ensure_parents(std::string_view path);
  Result<void> end_of_what_was_below(std::string_view path, RecordKind kind);
  Result<void> finish_subvolumes();

  const InventoryOptions options;
  Placement placement;
  ExternalSorter raw;
  uint64_t sequence = 1;        // of what was said last
  uint64_t layer_sequence = 1;  // less than those of what this layer says
  bool any_links = false;
  std::string known_directory;  // this layer has made sure of it and all above
  RecordBytes key, value;
};

Inventory::Inventory(std::unique_ptr<State> state) : state_(std::move(state)) {}
Inventory::Inventory(Inventory&&) noexcept = default;
Inventory& Inventory::operator=(Inventory&&) noexcept = default;
Inventory::~Inventory() = default;

Result<Inventory> Inventory::create(InventoryOptions options, Declarations declarations) {
  Placement placement = TRY(Placement::create(declarations));
  return Inventory(std::make_unique<State>(std::move(options), std::move(placement)));
}

Result<void> Inventory::State::say(const Located& where, uint64_t at, const Record& record,
                                   std::string_view path) {
  encode_key(key, where.subvolume, where.path);
  append_sequence(key, at);
  encode_record(value, record, path);
  return raw.add(key, value);
}

Result<void> Inventory::State::ensure_directory(std::string_view path) {
  return say(TRY(locate(placement, path)), ++sequence, {.kind = RecordKind::ensure_directory}, path);
}

// Archives come directory by directory, so most of what is above a path was there for the one before.
Result<void> Inventory::State::ensure_parents(std::string_view path) {
  const std::string_view parent = parent_path(path);
  if (is_below_or_at(known_directory, parent)) return {};
  for (size_t end = parent.find('/');; end = parent.find('/', end + 1)) {
    const std::string_view directory = parent.substr(0, end);
    if (!is_below_or_at(known_directory, directory)) TRY(ensure_directory(directory));
    if (end == parent.npos) break;
  }
  known_directory = parent;
  return {};
}

void Inventory::begin_layer() {
  state_->layer_sequence = ++state_->sequence;
  state_->known_directory.clear();
}

Result<void> Inventory::put(std::string_view path, const Entry& entry) {
  State& state = *state_;
  TRY(check_path(path));
  TRY(state.ensure_parents(path));
  TRY(encode_put(state.placement, ++state.sequence, path, entry, state.key, state.value));
  TRY(state.raw.add(state.key, state.value));
  if (entry.attributes.is_directory())
    state.known_directory = path;
  else if (is_below_or_at(state.known_directory, path))
    state.known_directory.clear();  // it may have replaced a directory
  return {};
}

Result<void> Inventory::ensure_parents(std::string_view path) {
  TRY(check_path(path));
  return state_->ensure_parents(path);
}

EntryBatch Inventory::new_batch() { return EntryBatch(state_->placement, state_->layer_sequence + 1); }

Result<void> Inventory::put(EntryBatch& batch) {
  State& state = *state_;
  state.sequence = std::max(state.sequence, batch.sequence_);
  Bytes left = batch.bytes_;
  for (const EntryBatch::Sizes& sizes : batch.records_) {
    TRY(state.raw.add(left.first(sizes.key), left.subspan(sizes.key, sizes.value)));
    left = left.subspan(size_t{sizes.key} + sizes.value);
  }
  batch.records_.clear();
  batch.bytes_.clear();
  state.known_directory.clear();
  return {};
}

Result<void> Inventory::patch(std::string_view path, const AttributesPatch& patch,
                              const XattrChanges& xattrs) {
  TRY(check_path(path));
  const Record record{.kind = RecordKind::patch, .patch = patch, .xattrs = &xattrs};
  return state_->say(TRY(locate(state_->placement, path)), ++state_->sequence, record, path);
}

// In the trees of subvolumes at or below the path, too. They themselves stay, since they were declared.
Result<void> Inventory::State::end_of_what_was_below(std::string_view path, RecordKind kind) {
  TRY(check_path(path));
  known_directory.clear();
  const Located own = TRY(locate(placement, path));
  TRY(say(own, layer_sequence, {.kind = kind}, path));
  const auto [first, last] = placement.at_or_below(path);
  for (size_t i = first; i < last; ++i) {
    if (i == own.subvolume || placement.subvolumes()[i].snapshot_of) continue;
    TRY(say({i, ""}, layer_sequence, {.kind = RecordKind::remove}, placement.path_of(i)));
  }
  return {};
}

Result<void> Inventory::remove(std::string_view path) {
  return state_->end_of_what_was_below(path, RecordKind::remove);
}
Result<void> Inventory::clear(std::string_view path) {
  return state_->end_of_what_was_below(path, RecordKind::clear);
}

// Said at the target, too, where it is known what is meant.
Result<void> Inventory::link(std::string_view path, std::string_view target) {
  State& state = *state_;
  TRY(check_path(path));
  TRY(check_path(target));
  TRY(check_room_for_subvolumes(state.placement, path, {.mode = mode::regular}));
  TRY(state.ensure_parents(path));
  const uint64_t sequence = ++state.sequence;
  const Located at = TRY(locate(state.placement, path));
  const Located to = TRY(locate(state.placement, target));
  RecordBytes target_key, link_key;
  encode_key(target_key, to.subvolume, to.path);
  encode_key(link_key, at.subvolume, at.path);
  append_sequence(link_key, sequence);
  TRY(state.say(at, sequence, {.kind = RecordKind::link, .target = target_key}, path));
  TRY(state.say(to, sequence, {.kind = RecordKind::link_target, .target = link_key}, target));
  if (is_below_or_at(state.known_directory, path)) state.known_directory.clear();
  state.any_links = true;
  return {};
}

const InventoryOptions& Inventory::options() const { return state_->options; }

const Properties& Inventory::properties_at(std::string_view path) const {
  return state_->placement.properties_at(path);
}

// Subvolumes are there whatever sources say, with the directories above them.
Result<void> Inventory::State::finish_subvolumes() {
  known_directory.clear();
  for (size_t i = 0; i < placement.subvolumes().size(); ++i) {
    const Subvolume& subvolume = placement.subvolumes()[i];
    const std::string_view path = placement.path_of(i);
    if (!subvolume.snapshot_of) TRY(ensure_directory(path));
    if (i == 0) continue;
    TRY(ensure_parents(path));
    std::string_view in_parent = path;
    if (subvolume.parent != 0) in_parent.remove_prefix(placement.path_of(subvolume.parent).size() + 1);
    const Record record{.kind = RecordKind::subvolume, .subvolume = static_cast<uint32_t>(i)};
    TRY(say({subvolume.parent, in_parent}, ++sequence, record, path));
  }
  return {};
}

Result<Layout> Inventory::finish(ContentStore* store) {
  State& state = *state_;
  TRY(state.finish_subvolumes());
  TRY(state.raw.finish());
  Settled settled = TRY(resolve(state.raw, state.any_links, state.placement, state.options, store));
  auto layout =
      std::make_unique<Layout::State>(Layout::State{std::move(state.placement), std::move(settled)});
  state_.reset();
  return Layout(std::move(layout));
}

}  // namespace karst::btrfs::build
