#include "btrfs/tool/build/resolve.h"

#include <algorithm>
#include <cstring>

#include "btrfs/tool/build/directory_queue.h"
#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/fold.h"
#include "btrfs/tool/build/join_links.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/raw_groups.h"
#include "btrfs/tool/build/resolve_links.h"
#include "core/sorted_run.h"

namespace karst::btrfs::build {
namespace {
constexpr uint64_t root_number = 256;
constexpr uint64_t first_index = 2;
constexpr uint64_t never = ~uint64_t{0};  // a barrier that nothing comes after

// Tokens of stored contents that no inode has in the end go back to the store. Without links, a token has one
// record, and goes back when that is dropped; with them, it is sorted out when all uses are known.
class TokenUses {
 public:
  TokenUses(ContentStore* store, bool shared, const InventoryOptions& options)
      : store_(store),
        shared_(shared),
        uses_({.memory = options.memory / 8, .directory = options.temporary_directory}) {}

  Result<void> dropped(Bytes token) {
    if (!store_ || token.empty()) return {};
    if (shared_) return uses_.add(token, as_bytes(""));
    store_->release(token);
    return {};
  }
  Result<void> used(Bytes token) {
    return shared_ && store_ && !token.empty() ? uses_.add(token, as_bytes("u")) : Result<void>();
  }
  Result<void> finish() {
    TRY(uses_.finish());
    RecordBytes token;
    bool any = false, used = false;
    for (auto reader = uses_.reader(); TRY(reader.next());) {
      if (!any || compare_keys(token, reader.key()) != 0) {
        if (any && !used) store_->release(token);
        token.assign(reader.key().begin(), reader.key().end());
        used = false;
      }
      any = true;
      used = used || !reader.value().empty();
    }
    if (any && !used) store_->release(token);
    return {};
  }

 private:
  ContentStore* const store_;
  const bool shared_;
  ExternalSorter uses_;
};

class Settler {
 public:
  Settler(const ExternalSorter& raw, const ExternalSorter* resolved, const Placement& placement,
          const InventoryOptions& options, TokenUses& tokens)
      : groups_(raw, resolved),
        placement_(placement),
        options_(options),
        tokens_(tokens),
        fold_({options.default_time}),
        directories_(options.temporary_directory),
        subvolumes_(placement.subvolumes()),
        entries_({.memory = options.memory, .directory = options.temporary_directory}),
        totals_({.memory = options.memory / 8, .directory = options.temporary_directory}),
        linked_names_({.memory = options.memory / 4, .directory = options.temporary_directory}) {
    fold_.on_dropped([this](Bytes value) { return dropped(value); });
  }

  Result<void> run();
  Result<Settled> take();

 private:
  Result<void> one_path();
  Result<void> apply_records();
  Result<bool> enter_directory_of(const KeyView& path);
  Result<void> leave_directory();
  Result<void> emit(const KeyView& path);
  Result<void> emit_linked(Bytes value, uint64_t number, std::string_view name);
  Result<void> dropped(Bytes value);

  RawGroups groups_;
  const Placement& placement_;
  const InventoryOptions& options_;
  TokenUses& tokens_;
  Fold fold_;
  DirectoryQueue directories_;  // those that exist

  // The directory whose entries are being read.
  RecordBytes directory_key_, wanted_key_;
  bool directory_exists_ = false;
  uint64_t directory_number_ = 0, directory_barrier_ = 0;
  uint64_t entries_in_directory_ = 0, name_bytes_ = 0;

  std::vector<Subvolume> subvolumes_;
  size_t subvolume_ = 0;
  uint64_t next_number_ = root_number;
  std::string absolute_path_;
  RecordBytes scratch_, linked_;

  ExternalSorter entries_, totals_, linked_names_;
};

Result<void> Settler::run() {
  while (TRY(groups_.next_path())) TRY(one_path());
  TRY(leave_directory());
  TRY(entries_.finish());
  TRY(totals_.finish());
  return linked_names_.finish();
}

Result<void> Settler::one_path() {
  const KeyView path = groups_.path();
  if (path.depth() == 0) {
    TRY(leave_directory());
    directories_.clear();
    directory_key_.clear();
    subvolume_ = path.subvolume();
    next_number_ = root_number;
    directory_exists_ = true;
    directory_number_ = directory_barrier_ = 0;
  } else {
    directory_exists_ = TRY(enter_directory_of(path));
  }
  decode_path(path.raw_path(), absolute_path_);
  if (subvolume_ != 0) absolute_path_ = join_paths(placement_.path_of(subvolume_), absolute_path_);

  // Without a directory, nothing that was said counts: whoever puts a path makes sure of what is above it.
  fold_.begin(directory_exists_ ? directory_barrier_ : never, absolute_path_);
  TRY(apply_records());
  TRY(fold_.end());
  return fold_.exists() ? emit(path) : Result<void>();
}

Result<void> Settler::apply_records() {
  while (TRY(groups_.next_record())) {
    Bytes value = groups_.value();
    if (kind_of(value) == RecordKind::link_target) {
      TRY(fold_.name_as_link_target(groups_.sequence()));
      continue;
    }
    if (kind_of(value) == RecordKind::link) {
      const std::optional<Bytes> resolved = TRY(groups_.resolved());
      if (!resolved) continue;  // told by resolve_links()
      value = *resolved;
    }
    auto applied = fold_.apply(groups_.sequence(), value);
    if (applied) continue;
    if (!options_.errors) return applied;
    TRY(options_.errors->failed(std::move(applied).error()));
  }
  return {};
}

Result<bool> Settler::enter_directory_of(const KeyView& path) {
  encode_parent_key(wanted_key_, path);
  if (wanted_key_ == directory_key_) return directory_exists_;

  TRY(leave_directory());
  directory_key_.swap(wanted_key_);
  const auto directory = TRY(directories_.find(directory_key_));
  if (!directory) return false;
  directory_number_ = directory->number;
  directory_barrier_ = directory->barrier;
  return true;
}

Result<void> Settler::leave_directory() {
  if (entries_in_directory_ > 0) {
    const NumberKey key{static_cast<uint32_t>(subvolume_), directory_number_};
    TRY(totals_.add(bytes_of(key), bytes_of(DirectoryTotals{entries_in_directory_, name_bytes_})));
  }
  entries_in_directory_ = name_bytes_ = 0;
  return {};
}

Result<void> Settler::emit(const KeyView& path) {
  RecordBytes& value = fold_.value();
  Subvolume& subvolume = subvolumes_[subvolume_];
  uint64_t index = 0;
  if (path.depth() > 0) {
    index = first_index + entries_in_directory_++;
    name_bytes_ += path.name().size();
    ++subvolume.names;
  }
  if (kind_of(value) == RecordKind::subvolume) {
    settle(value, 0, directory_number_, index, std::nullopt);
    Subvolume& nested = subvolumes_[decode_record(value, absolute_path_).subvolume];
    nested.directory = directory_number_;
    nested.index = index;
    return entries_.add(path.place, value);
  }
  const uint64_t number = next_number_++;
  settle(value, number, directory_number_, index, options_.epoch);
  subvolume.last_inode = number;
  if (content_of(value) == ContentKind::stored)
    TRY(tokens_.used(decode_record(value, absolute_path_).content_bytes));
  if (fold_.is_directory()) TRY(directories_.push(path.place, {number, fold_.barrier()}));
  if (has_link_key(value)) {
    TRY(emit_linked(value, number, path.name()));
  } else {
    ++subvolume.inodes;
    if ((mode_of(value) & mode::type_mask) == mode::regular) subvolume.bytes += size_of(value);
  }
  return entries_.add(path.place, value);
}

Result<void> Settler::emit_linked(Bytes value, uint64_t number, std::string_view name) {
  const Record record = decode_record(value, absolute_path_);
  const LinkedNameKey key{record.link_key->source, record.link_key->device, record.link_key->inode,
                          static_cast<uint32_t>(subvolume_), number};
  encode_record(scratch_, record, "");
  encode_linked_name(linked_, {record.directory, record.index}, name, scratch_);
  return linked_names_.add(bytes_of(key), linked_);
}

// The contents may go; what was last said about an inode counts for its other names.
Result<void> Settler::dropped(Bytes value) {
  if (content_of(value) == ContentKind::stored)
    TRY(tokens_.dropped(decode_record(value, absolute_path_).content_bytes));
  return has_link_key(value) ? emit_linked(value, LinkedNameKey::no_name, "") : Result<void>();
}

Result<Settled> Settler::take() {
  ExternalSorter links = TRY(join_links(linked_names_, options_, subvolumes_));
  return Settled{std::move(subvolumes_), std::move(entries_), std::move(totals_), std::move(links)};
}
}  // namespace

Result<Settled> resolve(const ExternalSorter& raw, bool any_links, const Placement& placement,
                        const InventoryOptions& options, ContentStore* store) {
  std::optional<ExternalSorter> resolved;
  if (any_links) resolved.emplace(TRY(resolve_links(raw, placement, options)));
  TokenUses tokens(store, any_links, options);
  Settler settler(raw, resolved ? &*resolved : nullptr, placement, options, tokens);
  TRY(settler.run());
  TRY(tokens.finish());
  return settler.take();
}

}  // namespace karst::btrfs::build
