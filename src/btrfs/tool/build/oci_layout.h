// OCI image layouts: directories with oci-layout, index.json and blobs/ALGORITHM/HEX.
//
// Source: the OCI image specification, image-layout.md, image-index.md, manifest.md, descriptor.md; Docker's
// media types mean the same.
#pragma once
#include <string>
#include <vector>

#include "btrfs/tool/build/archive_source.h"

namespace karst::btrfs::build {

struct OciLayer {
  std::string path;  // from the layout's root
  Digest digest;
};

// Whether it has the two files. The errors are those of opening them, but that they are not there.
Result<bool> is_oci_layout(int directory, const std::string& location);

// The layers of one image, the lowest first. `reference`: an image's name (org.opencontainers.image.ref.name)
// or digest in index.json; empty: whatever is there for the platform, which must be one. `platform`:
// "os/architecture[/variant]"; empty: Linux on this machine's. Manifests are compared with their digests;
// layers are, when they are read. Errors: err::source_oci, err::source_digest, those of opening files. The
// text has `location`.
Result<std::vector<OciLayer>> read_oci_layout(int directory, const std::string& location,
                                              const std::string& platform, const std::string& reference);

}  // namespace karst::btrfs::build
