#include "btrfs/tool/build/blob_stream.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>

#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {

struct BlobStream::State {
  int fd;
  CancelToken cancel;
  std::optional<Digest> digest;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash{nullptr, EVP_MD_CTX_free};
  std::vector<std::byte> buffer = std::vector<std::byte>(1 << 20);
};

BlobStream::BlobStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobStream::BlobStream(BlobStream&&) noexcept = default;
BlobStream::~BlobStream() = default;

Result<BlobStream> BlobStream::create(int fd, const std::optional<Digest>& digest, CancelToken cancel) {
  auto state = std::make_unique<State>();
  state->fd = fd;
  state->cancel = std::move(cancel);
  state->digest = digest;
  if (digest) {
    const EVP_MD* algorithm = digest->algorithm == "sha256"   ? EVP_sha256()
                              : digest->algorithm == "sha512" ? EVP_sha512()
                                                              : nullptr;
    if (!algorithm) return Error::make(err::source_oci, "a digest of the unknown kind {}", digest->algorithm);
    state->hash.reset(EVP_MD_CTX_new());
    if (!state->hash || EVP_DigestInit_ex(state->hash.get(), algorithm, nullptr) != 1)
      return Error(karst::err::no_memory, "no memory for a digest");
  }
  return BlobStream(std::move(state));
}

Result<Bytes> BlobStream::next() {
  ssize_t size;
  do {
    TRY(state_->cancel.check());
    size = ::read(state_->fd, state_->buffer.data(), state_->buffer.size());
  } while (size < 0 && errno == EINTR);
  if (size < 0) return Error::make(err::source, "{}", Error::from_errno(errno, "reading").what());
  const Bytes bytes = Bytes(state_->buffer).first(static_cast<size_t>(size));
  if (state_->hash && EVP_DigestUpdate(state_->hash.get(), bytes.data(), bytes.size()) != 1)
    return Error(karst::err::io, "OpenSSL could not go on with a digest");
  return bytes;
}

Result<void> BlobStream::verify() {
  if (!state_->hash) return {};
  while (!TRY(next()).empty()) {
  }
  unsigned char found[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_DigestFinal_ex(state_->hash.get(), found, &size) != 1)
    return Error(karst::err::io, "OpenSSL could not end a digest");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", found[i]);
  if (hex == state_->digest->hex) return {};
  return Error(err::source_digest, "the blob is not what its digest says").expected(state_->digest->hex, hex);
}

}  // namespace karst::btrfs::build
