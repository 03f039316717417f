// The files and devices that a new file system is made on.
//
//   MakeTargets targets(session.log(), force);
//   TRY(targets.open(paths, size, growth));
//   auto writer = TRY(ImageWriter::create(targets.take(), …));
//   targets.overwritten();
//   … TRY(targets.keep(TRY(writer->finish())));
//
// Until keep(), everything is given up at the end of the scope: files that were made here are removed, those
// that were there get their size back, and if they were overwritten, that is said.
#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/make/image_writer.h"
#include "core/log.h"

namespace karst::cli {

class MakeTargets {
 public:
  MakeTargets(Logger log, bool force) : log_(std::move(log)), force_(force) {}
  ~MakeTargets();
  MakeTargets(const MakeTargets&) = delete;
  MakeTargets& operator=(const MakeTargets&) = delete;

  // For files without a size of their own: they are made larger than any image, and cut in the end to what is
  // used and so many free bytes.
  struct Growth {
    uint64_t spare;
  };
  // Opens all (names as open_named() has them), for writing and for us alone, and makes files that are not
  // there. `size` is that of each: a file has it in the end, of a device so much is used. err::exists if one
  // holds something that is known, unless forced; err::busy if somebody uses it; err::no_space if a device is
  // smaller; err::not_found for a file that is not there and has no size.
  Result<void> open(const std::vector<std::string>& paths, std::optional<uint64_t> size,
                    std::optional<Growth> growth);
  std::vector<btrfs::MakeDevice> take() { return std::move(devices_); }
  // Device and inode number of each, so that no source takes it for one of its files.
  const std::vector<std::pair<dev_t, ino_t>>& identities() const { return identities_; }

  // From now on nothing is left of what was there.
  void overwritten() { overwritten_ = true; }
  // All is well; files get their sizes.
  Result<void> keep(const btrfs::MakeReport& report);

 private:
  struct Target {
    std::string path;
    bool made = false;                 // by us
    std::optional<off_t> size_before;  // of a file that was there and was made larger
    bool resize = false;               // to the size of the file system
  };
  Result<void> check(const std::string& name) const;
  Result<void> open_one(const std::string& name, std::optional<uint64_t> size, std::optional<Growth> growth);
  Result<void> open_other(const std::string& name, std::optional<uint64_t> size);

  const Logger log_;
  const bool force_;
  std::vector<Target> targets_;
  std::vector<btrfs::MakeDevice> devices_;
  std::vector<std::pair<dev_t, ino_t>> identities_;
  bool overwritten_ = false, kept_ = false;
};

}  // namespace karst::cli
