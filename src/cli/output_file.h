// The file of an archive: a new one is removed again if the work fails.
#pragma once
#include <sys/uio.h>

#include <span>
#include <string>

#include "core/result.h"

namespace karst::cli {

class OutputFile {
 public:
  // "-" is standard output, unless that is a terminal. A regular file that exists is overwritten only by
  // `force`.
  // `force_option` is the option that gives `force`, for the message.
  static Result<OutputFile> open(const std::string& name, bool force, const char* force_option = "--force");
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  // All of the buffers; they may be changed.
  Result<void> write(std::span<iovec> vectors);
  // Keeps the file.
  Result<void> commit();

 private:
  OutputFile(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  int fd_;
  std::string name_;  // to be removed if the work fails
};

}  // namespace karst::cli
