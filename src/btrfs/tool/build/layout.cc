#include "btrfs/tool/build/layout.h"

#include <cstring>

#include "btrfs/format/inode_mode.h"
#include "btrfs/tool/build/layout_state.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/record.h"

namespace karst::btrfs::build {
namespace {

// A sorter whose keys begin with NumberKey, read beside a walk over ascending numbers.
class Beside {
 public:
  explicit Beside(const ExternalSorter& sorter) : reader_(sorter.reader()) {}
  // To the next record about `wanted`; false if there is none (more).
  Result<bool> next(const NumberKey& wanted) {
    while (more_) {
      if (!pending_) more_ = TRY(reader_.next());
      pending_ = more_;
      if (!more_) break;
      const NumberKey found = *overlay<NumberKey>(reader_.key());
      if (found > wanted) return false;
      pending_ = false;
      if (found == wanted) return true;
    }
    return false;
  }
  Bytes key() const { return reader_.key(); }
  Bytes value() const { return reader_.value(); }

 private:
  ExternalSorter::Reader reader_;
  bool more_ = true;
  bool pending_ = false;  // the reader's record was not asked for yet
};

// Settled entries in their order, one that can be put back.
class Entries {
 public:
  explicit Entries(const ExternalSorter& sorter) : reader_(sorter.reader()) {}
  Result<bool> next() {
    if (!put_back_ && more_) more_ = TRY(reader_.next());
    put_back_ = false;
    return more_;
  }
  void put_back() { put_back_ = true; }
  KeyView key() const { return view_settled_key(reader_.key()); }
  Bytes value() const { return reader_.value(); }

 private:
  ExternalSorter::Reader reader_;
  bool more_ = true, put_back_ = false;
};

LinkTag tag_of(Bytes link_key) { return static_cast<LinkTag>(overlay<LinkRecordKey>(link_key)->tag); }
}  // namespace

struct Walk::State {
  explicit State(const Layout::State& the_layout)
      : layout(the_layout),
        entries(layout.settled.entries),
        children(layout.settled.entries),
        totals(layout.settled.totals),
        inode_links(layout.settled.links),
        child_links(layout.settled.links) {}

  NumberKey key_of(uint64_t number) const { return {static_cast<uint32_t>(subvolume), number}; }
  void take_path();
  Result<bool> take_links(uint64_t number);
  void fill(const Record& record);

  const Layout::State& layout;
  size_t next_subvolume = 0, subvolume = 0;
  Entries entries, children;
  Beside totals, inode_links, child_links;

  std::string absolute_path;
  size_t prefix = 0;  // of absolute_path, that is not below the subvolume
  struct Name {
    LinkName place;
    size_t offset, size;
  };
  std::vector<Name> names;
  std::string name_bytes;
  RecordBytes attributes_record;  // of another name, which counts for the inode
  std::vector<Link> links;
  XattrChanges xattrs;
  Inode inode;
  Child child;
};

Walk::Walk(std::unique_ptr<State> state) : state_(std::move(state)) {}
Walk::Walk(Walk&&) noexcept = default;
Walk& Walk::operator=(Walk&&) noexcept = default;
Walk::~Walk() = default;

Result<const Subvolume*> Walk::next_subvolume() {
  const auto& subvolumes = state_->layout.settled.subvolumes;
  if (state_->next_subvolume == subvolumes.size()) return nullptr;
  state_->subvolume = state_->next_subvolume++;
  const std::string_view path = state_->layout.placement.path_of(state_->subvolume);
  state_->absolute_path = path;
  state_->prefix = path.empty() ? 0 : path.size() + 1;
  return &subvolumes[state_->subvolume];
}

void Walk::State::take_path() {
  const std::string_view raw = entries.key().raw_path();
  absolute_path.resize(prefix == 0 ? 0 : prefix - 1);
  if (prefix > 0 && !raw.empty()) absolute_path += '/';
  const size_t start = absolute_path.size();
  absolute_path += raw;
  for (size_t i = start; i < absolute_path.size(); ++i)
    if (absolute_path[i] == '\0') absolute_path[i] = '/';
}

// All names of an inode with a link key; false if it is another name of one that was given before.
Result<bool> Walk::State::take_links(uint64_t number) {
  while (TRY(inode_links.next(key_of(number)))) {
    const Bytes value = inode_links.value();
    switch (tag_of(inode_links.key())) {
      case LinkTag::another_name: return false;
      case LinkTag::attributes: attributes_record.assign(value.begin(), value.end()); break;
      case LinkTag::name: {
        const std::string_view name = as_text(value.subspan(sizeof(LinkName)));
        names.push_back({*overlay<LinkName>(value), name_bytes.size(), name.size()});
        name_bytes += name;
        break;
      }
    }
  }
  return true;
}

void Walk::State::fill(const Record& record) {
  inode.attributes = record.attributes;
  inode.content = record.content;
  inode.content_bytes = record.content_bytes;
  inode.origin.reset();
  inode.xattrs_from_origin = inode.may_be_sparse = false;
  if (record.origin) {
    inode.origin = Origin{record.origin->source, record.origin->path, record.origin->change_token};
    inode.xattrs_from_origin = record.origin->read_xattrs;
    inode.may_be_sparse = record.origin->may_be_sparse;
  }
  decode_xattrs(record.xattr_bytes, xattrs);
  inode.xattrs = xattrs;
  const std::string_view absolute = absolute_path;
  inode.path = absolute.substr(std::min(prefix, absolute.size()));
  if (layout.placement.has_properties()) inode.properties = layout.placement.properties_at(absolute);
}

Result<const Inode*> Walk::next() {
  State& state = *state_;
  while (TRY(state.entries.next())) {
    const KeyView key = state.entries.key();
    const Bytes value = state.entries.value();
    if (key.subvolume() < state.subvolume || kind_of(value) == RecordKind::subvolume) continue;
    if (key.subvolume() > state.subvolume) {
      state.entries.put_back();
      return nullptr;
    }
    const uint64_t number = number_of(value);
    state.names.clear();
    state.name_bytes.clear();
    state.attributes_record.clear();
    if (has_link_key(value)) {
      if (!TRY(state.take_links(number))) continue;
    } else if (key.depth() > 0) {
      const std::string_view name = key.name();
      state.names.push_back({{directory_of(value), index_of(value)}, 0, name.size()});
      state.name_bytes += name;
    }
    state.take_path();
    state.links.clear();
    for (const State::Name& name : state.names)
      state.links.push_back({name.place.directory, name.place.index,
                             std::string_view(state.name_bytes).substr(name.offset, name.size)});
    state.inode.number = number;
    state.inode.links = state.links;
    state.fill(decode_record(state.attributes_record.empty() ? value : Bytes(state.attributes_record),
                             state.absolute_path));
    state.inode.child_count = state.inode.child_name_bytes = 0;
    if (state.inode.attributes.is_directory() && TRY(state.totals.next(state.key_of(number)))) {
      const auto* totals = overlay<DirectoryTotals>(state.totals.value());
      state.inode.child_count = totals->entries;
      state.inode.child_name_bytes = totals->name_bytes;
    }
    return &state.inode;
  }
  return nullptr;
}

Result<const Child*> Walk::next_child() {
  State& state = *state_;
  while (TRY(state.children.next())) {
    const KeyView key = state.children.key();
    const Bytes value = state.children.value();
    const uint64_t directory = directory_of(value);
    // Those of directories that were not asked about, and roots, which are in none.
    if (key.subvolume() < state.subvolume ||
        (key.subvolume() == state.subvolume && directory < state.inode.number))
      continue;
    if (key.subvolume() > state.subvolume || directory > state.inode.number) {
      state.children.put_back();
      return nullptr;
    }
    Child& child = state.child;
    child = {.name = key.name(),
             .index = index_of(value),
             .number = number_of(value),
             .is_subvolume = kind_of(value) == RecordKind::subvolume,
             .type = file_type_of(mode_of(value))};
    if (child.is_subvolume) {
      const size_t place = decode_record(value, "").subvolume;
      child.number = state.layout.settled.subvolumes[place].id;
      child.type = FileType::directory;
    } else if (has_link_key(value)) {
      while (TRY(state.child_links.next(state.key_of(number_of(value)))))
        if (tag_of(state.child_links.key()) == LinkTag::another_name)
          child.number = *overlay<be64>(state.child_links.value());
    }
    return &child;
  }
  return nullptr;
}

Layout::Layout(std::unique_ptr<State> state) : state_(std::move(state)) {}
Layout::Layout(Layout&&) noexcept = default;
Layout& Layout::operator=(Layout&&) noexcept = default;
Layout::~Layout() = default;

const std::vector<Subvolume>& Layout::subvolumes() const { return state_->settled.subvolumes; }
Walk Layout::walk() const { return Walk(std::make_unique<Walk::State>(*state_)); }

}  // namespace karst::btrfs::build
