// The file that a command makes: there whole under its name once commit() has succeeded, and otherwise as it
// was before. What the command reads is never its output, whatever --force says.
#pragma once
#include <sys/uio.h>

#include <span>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"

namespace karst::cli {

struct OutputOptions {
  std::vector<std::string> inputs;  // what the command reads, by path
  bool force = false;
  const char* force_option = "--force";  // what gives `force`, for the message
  CancelToken cancel;                    // ends write(), also one that waits for a reader
};

class OutputFile {
 public:
  // "-" is standard output, unless that is a terminal. A file that exists, and a block device, need `force`.
  // Pipes and character devices are written as they are.
  static Result<OutputFile> create(const std::string& name, OutputOptions options);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  // All buffers; they may be changed.
  Result<void> write(std::span<iovec> buffers);
  Result<void> commit();

 private:
  OutputFile(int fd, OutputOptions options) : fd_(fd), options_(std::move(options)) {}
  static Result<OutputFile> open_special(const std::string& name, OutputOptions options);
  static Result<OutputFile> create_beside(const std::string& name, mode_t mode, OutputOptions options);

  int fd_;
  OutputOptions options_;
  std::string name_, temporary_;  // empty if what is written has its name already
};

}  // namespace karst::cli
