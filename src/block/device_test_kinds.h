// The device kinds that the contract suite runs on. For tests.
#pragma once
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "block/device.h"
#include "block/faulty_device.h"
#include "block/file_device.h"
#include "block/memory_device.h"
#include "block/nbd_device.h"
#include "block/overlay_device.h"
#include "block/recording_device.h"
#include "block/slice_device.h"

namespace karst::block::testing_kinds {

class TemporaryFile {
 public:
  explicit TemporaryFile(uint64_t size) {
    const char* directory = std::getenv("TMPDIR");
    path_ = std::string(directory != nullptr ? directory : "/tmp") + "/karst-block-XXXXXX";
    const int fd = ::mkstemp(path_.data());
    if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0) std::abort();
    ::close(fd);
  }
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A device and what it stands on; the last member goes first.
struct Made {
  std::vector<std::shared_ptr<void>> below;
  std::unique_ptr<Device> device;
};

struct Kind {
  std::string name;
  std::function<Made(uint64_t size)> make;
};

inline Made make_file(uint64_t size, FileOptions options) {
  auto file = std::make_shared<TemporaryFile>(size);
  Made made;
  made.device = FileDevice::open(file->path(), OpenMode::read_write, options).value();
  made.below.push_back(file);
  return made;
}

inline Made over_memory(uint64_t size, const std::function<std::unique_ptr<Device>(Device&, Made&)>& wrap) {
  const std::shared_ptr<MemoryDevice> memory = MemoryDevice::create(size).value();
  Made made;
  made.below.push_back(memory);
  made.device = wrap(*memory, made);
  return made;
}

inline Made make_recording(uint64_t size) {
  return over_memory(size, [](Device& below, Made& made) {
    const auto log = std::make_shared<WriteLog>(1 << 20);
    made.below.push_back(log);
    return std::make_unique<RecordingDevice>(below, *log);
  });
}

// A server of its own, with filters of nbdkit's.
inline Made make_nbd(uint64_t size, const std::vector<std::string>& filters) {
  std::vector<std::string> command = {"nbdkit", "memory", "size=" + std::to_string(size)};
  command.insert(command.end(), filters.begin(), filters.end());
  return Made{{}, NbdDevice::serve(std::move(command), "nbd", OpenMode::read_write).value()};
}

inline std::vector<Kind> device_kinds() {
  return {
      {"Memory",
       [](uint64_t size) {
         return Made{{}, MemoryDevice::create(size).value()};
       }},
      {"Memory4K",
       [](uint64_t size) {
         return Made{{}, MemoryDevice::create(size, 4096).value()};
       }},
      {"File", [](uint64_t size) { return make_file(size, {}); }},
      {"File4K", [](uint64_t size) { return make_file(size, {.block_size = 4096}); }},
      {"DirectFile", [](uint64_t size) { return make_file(size, {.direct = true, .block_size = 4096}); }},
      {"DirectFile512", [](uint64_t size) { return make_file(size, {.direct = true}); }},
      {"Overlay",
       [](uint64_t size) {
         return over_memory(size,
                            [](Device& below, Made&) { return std::make_unique<OverlayDevice>(below); });
       }},
      {"Slice",
       [](uint64_t size) {
         const std::shared_ptr<MemoryDevice> memory = MemoryDevice::create(size + 8192).value();
         Made made;
         made.below.push_back(memory);
         made.device = std::make_unique<SliceDevice>(*memory, 4096, size, "slice");
         return made;
       }},
      {"SliceOfFile",
       [](uint64_t size) {
         Made made = make_file(size + 8192, {});
         const std::shared_ptr<Device> file = std::move(made.device);
         made.below.push_back(file);
         made.device = std::make_unique<SliceDevice>(*file, 4096, size, "slice");
         return made;
       }},
      {"Recording", make_recording},
#ifdef KARST_LIBNBD
      {"Nbd", [](uint64_t size) { return make_nbd(size, {}); }},
      {"NbdOfFewWords",
       [](uint64_t size) {
         return make_nbd(size, {"--filter=nozero", "--filter=fua", "--filter=noextents"});
       }},
      {"Nbd4K",
       [](uint64_t size) {
         return make_nbd(size, {"--filter=blocksize-policy", "blocksize-minimum=4K", "blocksize-preferred=4K",
                                "blocksize-maximum=64K", "blocksize-error-policy=error"});
       }},
#endif
      {"FaultyWithoutFaults",
       [](uint64_t size) {
         return over_memory(
             size, [](Device& below, Made&) { return std::make_unique<FaultyDevice>(below, FaultPlan{}); });
       }},
  };
}

}  // namespace karst::block::testing_kinds
