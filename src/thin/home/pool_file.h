// The file of a pool: its description, twice, and unless they are devices of their own its metadata and its
// data.
//
//   0               the description (description_store.h)
//   120 MiB         metadata, as on a device of its own, up to the most that Linux can use (15.9 GiB)
//   16 GiB          data
//
// The file is sparse: what is not written takes no room, and each part can grow in place. Whoever has the
// file open for writing holds its lock, which ends with the process (FileDevice, exclusive): one pool, one
// writer. Not thread-safe.
#pragma once
#include <memory>
#include <string>

#include "block/file_device.h"
#include "block/slice_device.h"
#include "thin/home/description_store.h"

namespace karst::thin {

class PoolFile {
 public:
  static constexpr uint64_t metadata_at = DescriptionStore::size;
  static constexpr uint64_t data_at = uint64_t{16} << 30;

  // Makes the file. err::exists if there is one and not `replace`.
  static Result<std::unique_ptr<PoolFile>> create(const std::string& path, PoolDescription description,
                                                  bool replace);
  // err::busy if another process has it open for writing (or for anything, if this is to write), unless
  // `shared`.
  static Result<std::unique_ptr<PoolFile>> open(const std::string& path, block::OpenMode mode,
                                                bool shared = false);
  // Whether a file begins like one.
  static Result<bool> is_one(const std::string& path);

  const std::string& path() const { return path_; }
  // What is changed here, the sizes of the parts excepted, the file does not look at.
  DescriptionStore& store() { return store_; }
  const PoolDescription& description() const { return store_.description(); }

  // Where metadata and data are; live as long as this. Opened once, when first asked for.
  Result<block::Device*> metadata();
  Result<block::Device*> data();
  // Makes a part in the file as large, or looks how large its device has become. Not smaller: err::invalid.
  Result<void> grow_metadata(uint64_t size);
  Result<void> grow_data(uint64_t size);

 private:
  PoolFile(std::string path, std::unique_ptr<block::Device> file, DescriptionStore store,
           block::OpenMode mode, bool shared)
      : path_(std::move(path)),
        file_(std::move(file)),
        store_(std::move(store)),
        mode_(mode),
        shared_(shared) {}
  Result<block::Device*> part(std::unique_ptr<block::Device>& part, const std::string& device, uint64_t at,
                              uint64_t size, const char* name);
  Result<void> grow(std::unique_ptr<block::Device>& part, const std::string& device, uint64_t at,
                    uint64_t size);

  const std::string path_;
  const std::unique_ptr<block::Device> file_;
  DescriptionStore store_;
  const block::OpenMode mode_;
  const bool shared_;
  std::unique_ptr<block::Device> metadata_, data_;
};

}  // namespace karst::thin
