// Collects what sources say about paths, and settles it.
//
// Paths are absolute in the image, without a leading slash and normalised (paths.h); "" is the root.
// Sources speak in turn, and who speaks later wins:
//
//   before            later says        then
//   nothing           put               it is there
//   directory         put directory     the later one's attributes; what is in it stays
//   directory         put other         replaced, with all that was below
//   other             put anything      replaced
//   anything          remove            gone, with all that was below
//   directory         clear             it stays; what was in it is gone
//   anything          patch             attributes given are changed, xattrs merged
//   nothing           patch             err::source_missing_path
//   file at TARGET    link to TARGET    another name of that inode, whatever becomes of TARGET later
//
// put and link make missing directories above the path (0755, root, the default time); where something that
// is no directory is in the way: err::source_not_a_directory.
//
// remove and clear act on what was said before the layer began (begin_layer), as OCI's whiteouts do, wherever
// in the layer they stand.
//
// Memory: `memory` twice at most, whatever the number of paths; the rest is in unlinked files in
// `temporary_directory`. Thread-safety: one thread.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/tool/build/content_store.h"
#include "btrfs/tool/build/layout.h"
#include "btrfs/tool/build/source_errors.h"
#include "core/log.h"
#include "core/result.h"

namespace karst::btrfs::build {

class Placement;

// What has to be known before the first source is read, since it decides in which tree a path is and how its
// data is stored. Paths as in put().
struct SubvolumeSpec {
  std::string path;
  bool readonly = false;
  std::optional<std::string> snapshot_of;  // path of another subvolume, which is no snapshot
};
struct PropertyRule {
  std::string path;  // holds there and below, until a rule for a longer path
  Properties properties;
};
struct Declarations {
  // The top level is always there; "" may be given to make it read-only.
  std::vector<SubvolumeSpec> subvolumes;
  std::vector<PropertyRule> properties;
  std::optional<std::string> default_subvolume;  // path; the top level if not given
};

struct InventoryOptions {
  uint64_t memory = uint64_t{48} << 20;
  std::string temporary_directory = "/var/tmp";
  // Of directories that no source describes.
  Time default_time;
  // For reproducible images (SOURCE_DATE_EPOCH): later modification times become this one; access, change and
  // creation times always do.
  std::optional<int64_t> epoch;
  // What to do about records that contradict each other; nullptr: the first ends the build.
  SourceErrorPolicy* errors = nullptr;
  Logger log;
};

// A file of a source directory: its contents and xattrs are read later.
struct FileOrigin {
  uint32_t source = 0;    // place among SourceFiles
  std::string_view path;  // from the source's root
  uint64_t change_token = 0;
  bool read_xattrs = true;
  bool may_be_sparse = false;
};
// Equal keys are one inode.
struct LinkKey {
  uint64_t source = 0, device = 0, inode = 0;
  auto operator<=>(const LinkKey&) const = default;
};

// One path, all there is to say. Views are borrowed for the call.
struct Entry {
  Attributes attributes;
  ContentKind content = ContentKind::none;
  Bytes content_bytes;                 // bytes and stored
  const FileOrigin* origin = nullptr;  // files of source directories
  const LinkKey* link_key = nullptr;   // files that have more than one name in their source
  const XattrChanges* xattrs = nullptr;
};

// Entries encoded by any thread, to be put by the inventory's. All batches of one layer are of one time: they
// must not name a path twice. Parents are not made: whoever fills batches puts the directories, too.
class EntryBatch {
 public:
  // As Inventory::put().
  Result<void> put(std::string_view path, const Entry& entry);
  size_t size_bytes() const { return bytes_.size(); }

 private:
  friend class Inventory;
  EntryBatch(const Placement& placement, uint64_t sequence) : placement_(&placement), sequence_(sequence) {}
  const Placement* placement_;  // the inventory's
  uint64_t sequence_;
  struct Sizes {
    uint32_t key, value;
  };
  std::vector<Sizes> records_;
  std::vector<std::byte> bytes_, key_, value_;  // keys and values of all records; of the last one
};

class Inventory {
 public:
  static Result<Inventory> create(InventoryOptions options, Declarations declarations);
  Inventory(Inventory&&) noexcept;
  Inventory& operator=(Inventory&&) noexcept;
  ~Inventory();

  // Errors of all of these: those of paths (err::source_path_invalid, err::source_name_too_long), a declared
  // subvolume that would not be a directory (err::source_not_a_directory), and of the temporary file.
  void begin_layer();
  Result<void> put(std::string_view path, const Entry& entry);
  Result<void> patch(std::string_view path, const AttributesPatch& patch, const XattrChanges& xattrs);
  Result<void> remove(std::string_view path);
  Result<void> clear(std::string_view path);
  Result<void> link(std::string_view path, std::string_view target);
  // What put() and link() do first. For batches that do not begin at the root.
  Result<void> ensure_parents(std::string_view path);
  // Entries encoded by another thread; all that is in the batch, which is empty then.
  Result<void> put(EntryBatch& batch);
  EntryBatch new_batch();

  const InventoryOptions& options() const;
  // The properties that hold for new data at `path`.
  const Properties& properties_at(std::string_view path) const;

  // Settles everything, and hands tokens of contents that nothing names back to the store, if there is one.
  // The inventory is empty then.
  Result<Layout> finish(ContentStore* store = nullptr);

 private:
  struct State;
  explicit Inventory(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace karst::btrfs::build
