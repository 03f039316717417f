// The sources of a build, as they are named on the command line, read into an Inventory in their order.
//
//   SourceSet sources = TRY(SourceSet::open(specs, options));            // plans are read here, for what
//   they declare Inventory inventory = TRY(Inventory::create(…, sources.declarations()));
//   TRY(sources.read(inventory, store, pool));
//   Layout layout = TRY(inventory.finish(&store));
//   … workers: SourceReader reader(sources.files());  reader.open(*inode.origin) …
#pragma once
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/build/content_store.h"
#include "btrfs/tool/build/id_names.h"
#include "btrfs/tool/build/inventory.h"
#include "btrfs/tool/build/source_errors.h"
#include "btrfs/tool/build/source_files.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::btrfs::build {

enum class SourceKind : uint8_t {
  automatic,  // what is there: an OCI image layout, another directory, a plan (JSON), an archive
  directory,
  archive,     // anything libarchive reads; "-" is standard input
  oci_layer,   // an archive whose .wh. entries are whiteouts
  oci_layout,  // a directory with oci-layout and index.json
  plan,
  file,  // one file of any type, which becomes `target`
};

// For all entries of a source.
struct SourceOverrides {
  std::optional<uint32_t> uid, gid;
  std::optional<uint32_t> file_permissions, directory_permissions;
  std::optional<Time> mtime;
  bool keep_xattrs = true;
};

struct SourceSpec {
  std::string location;
  SourceKind kind = SourceKind::automatic;
  std::string target = "/";  // where its root is in the image
  bool one_file_system = false;
  SourceOverrides overrides;
  std::string oci_platform;   // "os/architecture[/variant]"; "": linux on this machine's architecture
  std::string oci_reference;  // org.opencontainers.image.ref.name, or a digest; "": the only manifest

  // "KIND:LOCATION" with KIND one of dir, tar, oci, oci-layer, plan, file; otherwise a location, kind
  // automatic.
  static SourceSpec parse(std::string_view argument);
};

struct SourceOptions {
  IdNames plan_names, acl_names;        // by which plans, and access lists of archives, may name owners
  SourceErrorPolicy* errors = nullptr;  // nullptr: the first error ends the build
  // Device and inode numbers of the image's files, as they are at SourceSet::open(). In source directories
  // they are passed over; a source that is one of them is refused (err::invalid).
  std::vector<std::pair<dev_t, ino_t>> exclude;

  bool excludes(dev_t device, ino_t inode) const;
  CancelToken cancel;
  ProgressRef progress;
  Logger log;
};

class SourceSet {
 public:
  static Result<SourceSet> open(const std::vector<SourceSpec>& specs, const SourceOptions& options);
  SourceSet(SourceSet&&) noexcept;
  SourceSet& operator=(SourceSet&&) noexcept;
  ~SourceSet();

  // What plans declare; the caller may add to it what options say (--subvol).
  const Declarations& declarations() const;
  // Reads all sources in order. The store gets contents of archives.
  Result<void> read(Inventory& inventory, ContentStore& store, WorkerPool& pool);
  const SourceFiles& files() const;

 private:
  struct State;
  explicit SourceSet(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace karst::btrfs::build
