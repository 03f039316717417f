#include "btrfs/tool/build/join_links.h"

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/record.h"

namespace karst::btrfs::build {
namespace {
constexpr uint64_t max_links = 65535;  // BTRFS_LINK_MAX of Linux fs/btrfs/ctree.h

// The names of one inode in one subvolume, seen one after the other.
class LinkGroup {
 public:
  LinkGroup(const LinkedNameKey& first, ExternalSorter& out) : first_(first), out_(out) {}
  const LinkedNameKey& first() const { return first_; }

  Result<void> add(const LinkedNameKey& key, Bytes value) {
    const auto* name_size = overlay<le16>(value, sizeof(LinkName));
    const Bytes name = value.subspan(sizeof(LinkName) + sizeof(le16), *name_size);
    const Bytes record = value.subspan(sizeof(LinkName) + sizeof(le16) + *name_size);
    if (key.number != LinkedNameKey::no_name) TRY(add_name(key, value.first(sizeof(LinkName)), name));
    // What was said last about any of the names counts for the inode.
    const uint64_t sequence = decode_record(record, "").attributes_sequence;
    if (!best_.empty() && sequence <= sequence_) return {};
    sequence_ = sequence;
    best_is_first_ = best_.empty();
    best_.assign(record.begin(), record.end());
    return {};
  }

  Result<void> end(Subvolume& subvolume) {
    if (count_ == 0) return {};
    ++subvolume.inodes;
    const Record record = decode_record(best_, "");
    if (record.attributes.is_regular()) subvolume.bytes += record.attributes.size;
    if (best_is_first_) return {};
    return emit(first_.number, LinkTag::attributes, first_.number, best_, {});
  }

 private:
  Result<void> add_name(const LinkedNameKey& key, Bytes place, Bytes name) {
    if (++count_ > max_links)
      return Error::make(err::source_too_many_links, "an inode has more than {} names: {}", max_links,
                         shown_path(as_text(name)));
    TRY(emit(first_.number, LinkTag::name, key.number, place, name));
    if (key.number == first_.number) return {};
    return emit(key.number, LinkTag::another_name, key.number, bytes_of(first_.number), {});
  }

  Result<void> emit(uint64_t number, LinkTag tag, uint64_t name_number, Bytes value, Bytes more) {
    const LinkRecordKey key{{first_.subvolume, number}, static_cast<uint8_t>(tag), name_number};
    scratch_.assign(value.begin(), value.end());
    scratch_.insert(scratch_.end(), more.begin(), more.end());
    return out_.add(bytes_of(key), scratch_);
  }

  const LinkedNameKey first_;
  ExternalSorter& out_;
  uint64_t count_ = 0, sequence_ = 0;
  bool best_is_first_ = true;
  RecordBytes best_, scratch_;
};
}  // namespace

void encode_linked_name(RecordBytes& value, const LinkName& place, std::string_view name, Bytes record) {
  value.clear();
  const le16 name_size = static_cast<uint16_t>(name.size());
  for (Bytes part : {bytes_of(place), bytes_of(name_size), as_bytes(name), record})
    value.insert(value.end(), part.begin(), part.end());
}

Result<ExternalSorter> join_links(const ExternalSorter& names, const InventoryOptions& options,
                                  std::vector<Subvolume>& subvolumes) {
  ExternalSorter links({.memory = options.memory / 8, .directory = options.temporary_directory});
  std::optional<LinkGroup> group;
  auto end_group = [&]() -> Result<void> {
    return group ? group->end(subvolumes[group->first().subvolume]) : Result<void>();
  };
  for (auto reader = names.reader(); TRY(reader.next());) {
    const LinkedNameKey key = *overlay<LinkedNameKey>(reader.key());
    if (!group || !group->first().same_inode(key) || group->first().subvolume != key.subvolume) {
      TRY(end_group());
      if (group && group->first().same_inode(key) && key.number != LinkedNameKey::no_name)
        options.log.warning("a hard link across subvolumes becomes a file of its own",
                            {{"subvolume", subvolumes[key.subvolume].path}, {"inode", key.number}});
      group.emplace(key, links);
    }
    TRY(group->add(key, reader.value()));
  }
  TRY(end_group());
  TRY(links.finish());
  return links;
}

}  // namespace karst::btrfs::build
