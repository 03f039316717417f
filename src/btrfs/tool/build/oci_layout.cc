#include "btrfs/tool/build/oci_layout.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

#include "btrfs/tool/build/blob_stream.h"
#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {
namespace {
using Json = nlohmann::json;

constexpr size_t max_document = 16 << 20;
constexpr int max_nesting = 8;  // indexes in indexes
constexpr size_t max_layers = 4096;

Error refuse(std::string why) { return Error(err::source_oci, std::move(why)); }

Result<UniqueFd> open_file(int directory, const std::string& path) {
  UniqueFd fd(open_below(directory, path, O_RDONLY));
  if (!fd) return source_error(errno, "opening", "", path);
  return fd;
}

Result<std::string> read_document(int directory, const std::string& path,
                                  const std::optional<Digest>& digest) {
  UniqueFd fd = TRY(open_file(directory, path));
  BlobStream stream = TRY(BlobStream::create(fd.get(), digest));
  std::string text;
  for (;;) {
    const Bytes bytes = TRY(stream.next());
    if (bytes.empty()) break;
    if (text.size() + bytes.size() > max_document)
      return refuse(fmt::format("{} has more than {} bytes", path, max_document));
    text += as_text(bytes);
  }
  TRY(stream.verify().context([&] { return path; }));
  return text;
}

Result<Json> parse(const std::string& text, const std::string& path) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return refuse(path + " is no JSON object");
  return json;
}

// A member of an object as text; "" if there is none.
std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const Json* array_of(const Json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_array() ? &*found : nullptr;
}

// Only what can be a file's name below blobs/.
Result<Digest> parse_digest(const std::string& text) {
  const size_t colon = text.find(':');
  Digest digest{text.substr(0, colon), colon == text.npos ? "" : text.substr(colon + 1)};
  const size_t wanted = digest.algorithm == "sha256" ? 64 : digest.algorithm == "sha512" ? 128 : 0;
  const bool is_hex = digest.hex.find_first_not_of("0123456789abcdef") == text.npos;
  if (wanted == 0 || digest.hex.size() != wanted || !is_hex)
    return refuse("not a digest: " + text.substr(0, 200));
  return digest;
}
std::string blob_path(const Digest& digest) {
  return fmt::format("blobs/{}/{}", digest.algorithm, digest.hex);
}

bool is_index(const std::string& media_type) {
  return media_type == "application/vnd.oci.image.index.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
}
bool is_manifest(const std::string& media_type) {
  return media_type == "application/vnd.oci.image.manifest.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.v2+json";
}
bool is_layer(const std::string& media_type) {
  return media_type.starts_with("application/vnd.oci.image.layer.") ||
         media_type.starts_with("application/vnd.docker.image.rootfs.");
}

std::string own_platform() {
  utsname name{};
  ::uname(&name);
  const std::string machine = name.machine;
  if (machine == "x86_64") return "linux/amd64";
  if (machine == "aarch64") return "linux/arm64";
  if (machine.starts_with("armv7")) return "linux/arm/v7";
  if (machine == "i686" || machine == "i386") return "linux/386";
  return "linux/" + machine;
}

// A descriptor that names no platform is for any. A variant is compared if both name one.
bool suits(const Json& descriptor, const std::string& wanted) {
  auto platform = descriptor.find("platform");
  if (platform == descriptor.end()) return true;
  const std::string base = text_of(*platform, "os") + "/" + text_of(*platform, "architecture");
  const std::string variant = text_of(*platform, "variant");
  const size_t slash = wanted.find('/', std::min(wanted.find('/'), wanted.size() - 1) + 1);
  if (wanted.substr(0, slash) != base) return false;
  return variant.empty() || slash == wanted.npos || wanted.substr(slash + 1) == variant;
}

bool is_named(const Json& descriptor, const std::string& reference) {
  if (reference.empty() || text_of(descriptor, "digest") == reference) return true;
  auto annotations = descriptor.find("annotations");
  return annotations != descriptor.end() &&
         text_of(*annotations, "org.opencontainers.image.ref.name") == reference;
}

struct Search {
  int directory;
  std::string platform, reference;
  std::vector<std::string> found;                 // digests of manifests, each once
  std::set<std::pair<std::string, bool>> seen{};  // indexes, and whether they were asked for by name

  Result<void> index(const Json& index, bool named, int depth) {
    if (depth > max_nesting) return refuse(fmt::format("indexes nested more than {} deep", max_nesting));
    const Json* manifests = array_of(index, "manifests");
    if (!manifests) return refuse("an index without manifests");
    for (const Json& descriptor : *manifests) {
      const std::string media_type = text_of(descriptor, "mediaType"), digest = text_of(descriptor, "digest");
      const bool is_wanted = named || is_named(descriptor, reference);
      if (is_index(media_type)) {
        if (!seen.emplace(digest, is_wanted).second) continue;
        const Digest blob = TRY(parse_digest(digest));
        const std::string path = blob_path(blob);
        TRY(this->index(TRY(parse(TRY(read_document(directory, path, blob)), path)), is_wanted, depth + 1));
      } else if (is_manifest(media_type) && is_wanted && suits(descriptor, platform)) {
        if (std::find(found.begin(), found.end(), digest) == found.end()) found.push_back(digest);
      }
    }
    return {};
  }
};

Result<std::vector<OciLayer>> layers_of(int directory, const std::string& manifest_digest) {
  const Digest digest = TRY(parse_digest(manifest_digest));
  const std::string path = blob_path(digest);
  const Json manifest = TRY(parse(TRY(read_document(directory, path, digest)), path));
  const Json* layers = array_of(manifest, "layers");
  if (!layers) return refuse(path + " is a manifest without layers");
  if (layers->size() > max_layers) return refuse(fmt::format("{} has more than {} layers", path, max_layers));
  std::vector<OciLayer> found;
  for (const Json& layer : *layers) {
    if (!is_layer(text_of(layer, "mediaType")))
      return refuse(fmt::format("{} has a layer of the unknown type {}", path, text_of(layer, "mediaType")));
    const Digest blob = TRY(parse_digest(text_of(layer, "digest")));
    found.push_back({blob_path(blob), blob});
  }
  return found;
}
}  // namespace

Result<bool> is_oci_layout(int directory, const std::string& location) {
  for (const char* name : {"oci-layout", "index.json"}) {
    const UniqueFd fd(open_below(directory, name, O_PATH));
    if (fd) continue;
    if (errno == ENOENT) return false;
    return source_error(errno, "opening", location, name);
  }
  return true;
}

Result<std::vector<OciLayer>> read_oci_layout(int directory, const std::string& location,
                                              const std::string& platform, const std::string& reference) {
  auto read = [&]() -> Result<std::vector<OciLayer>> {
    const Json layout = TRY(parse(TRY(read_document(directory, "oci-layout", std::nullopt)), "oci-layout"));
    const std::string version = text_of(layout, "imageLayoutVersion");
    if (!version.starts_with("1.")) return refuse("an image layout of the unknown version " + version);
    Search search{directory, platform.empty() ? own_platform() : platform, reference, {}, {}};
    const Json index = TRY(parse(TRY(read_document(directory, "index.json", std::nullopt)), "index.json"));
    TRY(search.index(index, false, 0));
    if (search.found.size() != 1)
      return refuse(fmt::format("{} images for {}{}{}; one is wanted", search.found.size(), search.platform,
                                reference.empty() ? "" : " named ", reference));
    return layers_of(directory, search.found.front());
  };
  return read().context([&] { return location; });
}

}  // namespace karst::btrfs::build
