// The checked-in images for tests: unpacking them, opening them, and what karst shows of one in the form of
// the kernel's manifest beside it (tests/images/README.md).
#pragma once
#include <openssl/evp.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "btrfs/tool/open_image.h"

// Given by the build to tests and fuzzers; otherwise this header is only compiled by itself.
#ifndef KARST_SOURCE_DIR
#define KARST_SOURCE_DIR "."
#define KARST_BINARY_DIR "."
#endif

namespace karst::btrfs::testing {

using Json = nlohmann::json;

// A directory of its own below $TMPDIR or the build directory, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  pid_t owner_;
};

std::vector<std::string> image_names();

// Path to object, in the escaped form of the manifest.
using Manifest = std::map<std::string, Json>;

// An image, unpacked. All of one name in a process share the files, and the files are not to be written to:
// lay an OverlayDevice over what is to be spoiled.
class UnpackedImage {
 public:
  explicit UnpackedImage(const std::string& name);

  const std::string& name() const { return name_; }
  const std::string& directory() const { return directory_; }
  const Json& info() const { return info_; }
  const std::vector<std::string>& devices() const { return devices_; }
  Manifest manifest() const;
  Manifest norecovery_manifest() const;

  // From the top level, with all its devices.
  ImageOptions options() const;

 private:
  std::string base() const { return directory_ + "/" + name_; }

  std::string name_;
  std::string directory_;
  Json info_;
  std::vector<std::string> devices_;
};

// Printable ASCII as it is, other bytes and the backslash as \xNN.
std::string escape(std::string_view bytes);
std::string hex(Bytes bytes);
std::string time_text(timespec time);
const char* type_name(mode_t mode);

class Sha256 {
 public:
  Sha256() { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(Bytes bytes);
  std::string text();

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

// The manifest of everything below the image's root, as karst reads it.
Result<Manifest> manifest_of(const Image& image);

// Where the two differ, one line each, in the fields that `expected` has.
std::vector<std::string> differences(const Manifest& expected, const Manifest& found);

std::string joined(const std::vector<std::string>& lines);

}  // namespace karst::btrfs::testing
