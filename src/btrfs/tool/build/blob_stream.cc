#include "btrfs/tool/build/blob_stream.h"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "btrfs/tool/build/errors.h"
#include "core/ordered_queue.h"

namespace karst::btrfs::build {
namespace {

constexpr size_t piece_size = 1 << 20;
constexpr size_t pieces_ahead = 4;
using Piece = std::vector<std::byte>;

Error read_error(int errno_value) {
  return Error::make(err::source, "{}", Error::from_errno(errno_value, "reading").what());
}

// Shorter at the end of the file only.
Result<Piece> read_piece(int fd, uint64_t offset) {
  Piece piece(piece_size);
  size_t size = 0;
  while (size < piece_size) {
    const ssize_t got =
        ::pread(fd, piece.data() + size, piece_size - size, static_cast<off_t>(offset + size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return read_error(errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  piece.resize(size);
  return piece;
}

}  // namespace

struct BlobStream::State {
  int fd;
  CancelToken cancel;
  std::optional<Digest> digest;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash{nullptr, EVP_MD_CTX_free};
  Piece buffer;
  uint64_t offset = 0;                        // of the next piece to be read ahead
  std::optional<OrderedQueue<Piece>> pieces;  // last: what runs uses the rest
};

BlobStream::BlobStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobStream::BlobStream(BlobStream&&) noexcept = default;
BlobStream::~BlobStream() = default;

Result<BlobStream> BlobStream::create(int fd, const std::optional<Digest>& digest, CancelToken cancel,
                                      WorkerPool* pool) {
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
  struct stat status;
  const off_t offset = ::lseek(fd, 0, SEEK_CUR);
  if (pool && offset >= 0 && ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    state->offset = static_cast<uint64_t>(offset);
    state->pieces.emplace(*pool, OrderedQueueBase::Limits{.items = pieces_ahead},
                          TaskGroup::Options{.cancel = state->cancel});
  }
  return BlobStream(std::move(state));
}

// Not restarted when a signal comes: a pipe may stay silent.
Result<Bytes> BlobStream::read_now() {
  state_->buffer.resize(piece_size);
  ssize_t size;
  do {
    TRY(state_->cancel.check());
    size = ::read(state_->fd, state_->buffer.data(), piece_size);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return read_error(errno);
  return Bytes(state_->buffer).first(static_cast<size_t>(size));
}

Result<Bytes> BlobStream::read_ahead() {
  auto& pieces = *state_->pieces;
  for (; pieces.has_room(piece_size); state_->offset += piece_size)
    TRY(pieces.submit(piece_size, [fd = state_->fd, at = state_->offset] { return read_piece(fd, at); }));
  state_->buffer = *TRY(pieces.next());
  return Bytes(state_->buffer);
}

Result<Bytes> BlobStream::next() {
  const Bytes bytes = TRY(state_->pieces ? read_ahead() : read_now());
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
