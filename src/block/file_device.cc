#include "block/file_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace karst::block {
namespace {

constexpr uint64_t piece_max = 1u << 30;  // below MAX_RW_COUNT, the most one system call moves
constexpr size_t iovecs_max = 64;         // of one system call; more gains nothing and costs stack

int rw_flags(const IoRequest& request) {
  int flags = 0;
  if (has(request.flags, IoFlags::fua)) flags |= RWF_DSYNC;
  if (has(request.flags, IoFlags::nowait)) flags |= RWF_NOWAIT;
  return flags;
}

ssize_t transfer_once(int fd, const IoRequest& request, std::span<const iovec> buffers, uint64_t offset) {
  const int count = static_cast<int>(buffers.size());
  const int flags = rw_flags(request);
  if (request.op == IoOp::read)
    return flags == 0 ? ::preadv(fd, buffers.data(), count, static_cast<off_t>(offset))
                      : ::preadv2(fd, buffers.data(), count, static_cast<off_t>(offset), flags);
  return flags == 0 ? ::pwritev(fd, buffers.data(), count, static_cast<off_t>(offset))
                    : ::pwritev2(fd, buffers.data(), count, static_cast<off_t>(offset), flags);
}

template <typename F>
int retry(F&& call) {
  int result;
  do result = call();
  while (result < 0 && errno == EINTR);
  return result;
}

// Reads until the buffer is full or the file ends; returns the bytes read, or -1 with errno. Of an O_DIRECT
// descriptor, which gives part of an aligned unit only at the end of the file.
ssize_t read_units(int fd, MutableBytes into, uint64_t offset, uint64_t unit) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    done += static_cast<size_t>(got);
    if (got == 0 || done % unit != 0) break;
  }
  return static_cast<ssize_t>(done);
}

// A nowait transfer that the file system cannot try without waiting is one that would wait.
int nowait_errno(const IoRequest& request, int errno_value) {
  const bool refused = errno_value == EOPNOTSUPP || errno_value == EAGAIN;
  return has(request.flags, IoFlags::nowait) && refused ? EAGAIN : errno_value;
}

bool is_unsupported(int errno_value) {
  return errno_value == EOPNOTSUPP || errno_value == ENOSYS || errno_value == ENOTTY || errno_value == EINVAL;
}

}  // namespace

Result<std::unique_ptr<FileDevice>> FileDevice::open_fd(const std::string& path, int flags,
                                                        FileOptions options) {
  flags |= O_CLOEXEC | (options.direct ? O_DIRECT : 0);
  struct stat info;
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISFIFO(info.st_mode))  // opening it would wait for somebody to write
    return Error(err::invalid, "a pipe is not a device").at("device", path);
  // Claims a block device; together with O_CREAT it would mean that nothing may have the name.
  if (options.exclusive && exists && S_ISBLK(info.st_mode)) flags = (flags & ~O_CREAT) | O_EXCL;
  const int fd = retry([&] { return ::open(path.c_str(), flags, 0666); });
  if (fd < 0) return Error::from_errno(errno, "cannot open").at("device", path);
  return std::unique_ptr<FileDevice>(new FileDevice(path, fd));
}

Result<std::unique_ptr<Device>> FileDevice::open(const std::string& path, OpenMode mode,
                                                 FileOptions options) {
  auto device = TRY(open_fd(path, mode == OpenMode::read_write ? O_RDWR : O_RDONLY, options));
  TRY(device->set_up(mode, options));
  return std::unique_ptr<Device>(std::move(device));
}

Result<std::unique_ptr<Device>> FileDevice::create(const std::string& path, uint64_t size,
                                                   FileOptions options) {
  auto device = TRY(open_fd(path, O_RDWR | O_CREAT, options));
  // The lock is taken before the size is changed, so that a file in use is not cut.
  TRY(device->set_up(OpenMode::read_write, options));
  if (device->is_block_device_) {
    if (device->size_ < size)
      return Error(err::no_space, "the block device is too small")
          .expected(size, device->size())
          .at("device", path);
    return std::unique_ptr<Device>(std::move(device));
  }
  if (::ftruncate(device->fd_, static_cast<off_t>(size)) < 0)
    return Error::from_errno(errno, fmt::format("cannot set the size to {}", size)).at("device", path);
  device->size_ = size;
  return std::unique_ptr<Device>(std::move(device));
}

Result<void> FileDevice::resize(uint64_t size) {
  uint64_t found = size;
  const int result =
      is_block_device_ ? ::ioctl(fd_, BLKGETSIZE64, &found) : ::ftruncate(fd_, static_cast<off_t>(size));
  if (result < 0)
    return Error::from_errno(errno, fmt::format("cannot set the size to {}", size)).at("device", path_);
  if (found < size)
    return Error(err::no_space, "the block device is too small").expected(size, found).at("device", path_);
  size_.store(size, std::memory_order_release);
  return {};
}

FileDevice::~FileDevice() { ::close(fd_); }

Result<void> FileDevice::set_up(OpenMode mode, FileOptions options) {
  writable_ = mode == OpenMode::read_write;
  struct stat info;
  if (::fstat(fd_, &info) < 0) return Error::from_errno(errno, "cannot stat").at("device", path_);
  if (S_ISBLK(info.st_mode)) {
    int sector = 0;
    uint64_t bytes = 0;
    if (::ioctl(fd_, BLKGETSIZE64, &bytes) < 0 || ::ioctl(fd_, BLKSSZGET, &sector) < 0)
      return Error::from_errno(errno, "cannot read the geometry").at("device", path_);
    is_block_device_ = true;
    size_ = bytes;
    block_size_ = static_cast<uint32_t>(sector);
  } else if (S_ISREG(info.st_mode)) {
    size_ = static_cast<uint64_t>(info.st_size);
    if (options.block_size != 0) block_size_ = options.block_size;
    if (!std::has_single_bit(block_size_))
      return Error::make(err::invalid, "block size {} is not a power of two", block_size_)
          .at("device", path_);
    if (options.exclusive) {
      struct flock lock {};
      lock.l_type = writable_ ? F_WRLCK : F_RDLCK;
      lock.l_whence = SEEK_SET;
      if (retry([&] { return ::fcntl(fd_, F_OFD_SETLK, &lock); }) < 0)
        return Error(err::busy, "in use by another process").at("device", path_);
    }
  } else if (S_ISDIR(info.st_mode)) {
    return Error(err::is_a_directory, "a directory is not a device").at("device", path_);
  } else {
    return Error(err::invalid, "neither a regular file nor a block device").at("device", path_);
  }
  // 4096 suits every device; a smaller alignment would only save bounces of unaligned reads.
  if (options.direct) direct_alignment_ = std::max(block_size_, 4096u);
  return {};
}

bool FileDevice::aligned_for_direct(const IoRequest& request) const {
  const auto aligned = [&](uint64_t value) { return value % direct_alignment_ == 0; };
  if (!aligned(request.offset) || !aligned(request.length)) return false;
  return std::ranges::all_of(request.buffers, [&](const iovec& buffer) {
    return aligned(reinterpret_cast<uintptr_t>(buffer.iov_base)) && aligned(buffer.iov_len);
  });
}

std::string FileDevice::identity() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) return path_;
  return S_ISBLK(info.st_mode) ? fmt::format("block device {:#x}", info.st_rdev)
                               : fmt::format("file {} of device {:#x}", info.st_ino, info.st_dev);
}

std::optional<DirectIo> FileDevice::begin_direct(const IoRequest& request) {
  const bool moves_data = request.op == IoOp::read || request.op == IoOp::write;
  if (!moves_data && request.op != IoOp::flush) return std::nullopt;
  if (moves_data && direct_alignment_ != 0 && !aligned_for_direct(request)) return std::nullopt;
  return DirectIo{.fd = fd_, .offset = request.offset};
}

void FileDevice::will_read(uint64_t offset, uint64_t length) {
  if (direct_alignment_ != 0 || offset >= size()) return;
  length = std::min(length, size() - offset);
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_WILLNEED);
}

Result<void> FileDevice::extents(uint64_t offset, uint64_t length, ExtentListener each) {
  const uint64_t end = std::min(offset + length, size());
  ExtentRuns runs(offset, end, each);
  while (offset < end && runs.wanted()) {
    const off_t data = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    // ENXIO: nothing but a hole. What a block device or a file system says instead means that it cannot tell.
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) {
      runs.extend(end, true);
      break;
    }
    const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
    runs.extend(static_cast<uint64_t>(data), false);
    offset = hole > data ? static_cast<uint64_t>(hole) : end;
    runs.extend(offset, true);
  }
  runs.extend(end, false);
  runs.end();
  return {};
}

Result<void> FileDevice::perform(const IoRequest& request) {
  switch (request.op) {
    case IoOp::read:
    case IoOp::write:
      if (direct_alignment_ != 0 && !aligned_for_direct(request)) return transfer_bounced(request);
      return transfer(request);
    case IoOp::flush: return sync(request);
    case IoOp::discard: return discard_range(request);
    case IoOp::write_zeroes: return write_zeroes_range(request);
  }
  return failed_request(*this, request, EINVAL);
}

Result<void> FileDevice::transfer(const IoRequest& request) {
  std::array<iovec, iovecs_max> storage;
  uint64_t moved = 0;
  while (moved < request.length) {
    std::span<const iovec> buffers = request.buffers;
    if (moved != 0 || buffers.size() > 1 || request.length > piece_max) {
      size_t count = 0;
      slice_buffers(request.buffers, moved, std::min(request.length - moved, piece_max), storage, count);
      buffers = std::span<const iovec>(storage).first(count);
    }
    const ssize_t result = transfer_once(fd_, request, buffers, request.offset + moved);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return failed_request(*this, request, nowait_errno(request, errno));
    if (result == 0) return short_request(*this, request, moved);
    moved += static_cast<uint64_t>(result);
  }
  return {};
}

// A direct transfer whose offset, length or memory the kernel would refuse goes through an aligned buffer;
// a write that is smaller than the alignment reads what surrounds it. Concurrent writers of one aligned unit
// would undo each other, so a direct device is best written in units of 4096.
Result<void> FileDevice::transfer_bounced(const IoRequest& request) {
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);
  const uint64_t unit = direct_alignment_;
  const uint64_t begin = request.offset / unit * unit;
  const uint64_t end =
      std::min((request.offset + request.length + unit - 1) / unit * unit, (size() + unit - 1) / unit * unit);
  constexpr uint64_t bounce_max = 1 << 20;
  const std::unique_ptr<std::byte, decltype(&std::free)> bounce(
      static_cast<std::byte*>(std::aligned_alloc(unit, std::min(bounce_max, end - begin))), &std::free);
  if (!bounce) return failed_request(*this, request, ENOMEM);
  for (uint64_t at = begin; at < end; at += bounce_max) {
    const uint64_t piece = std::min(bounce_max, end - at);
    const uint64_t from = std::max(at, request.offset);
    const uint64_t to = std::min(at + piece, request.offset + request.length);
    const bool partial = from != at || to != at + piece;
    const bool reads = request.op == IoOp::read;
    if (reads || partial) {
      const ssize_t result = read_units(fd_, {bounce.get(), piece}, at, unit);
      if (result < 0) return failed_request(*this, request, errno);
      const auto got = static_cast<uint64_t>(result);
      if (got < to - at && reads)
        return short_request(*this, request, std::max(at + got, request.offset) - request.offset);
      // A file that has shrunk under us is zero there, and what memory held is nobody's business (CO-009).
      std::memset(bounce.get() + got, 0, piece - got);
    }
    for_each_piece(request.buffers, [&](MutableBytes part, uint64_t position) {
      const uint64_t part_begin = std::max(request.offset + position, from);
      const uint64_t part_end = std::min(request.offset + position + part.size(), to);
      if (part_begin >= part_end) return;
      std::byte* outside = part.data() + (part_begin - request.offset - position);
      std::byte* inside = bounce.get() + (part_begin - at);
      std::memcpy(reads ? outside : inside, reads ? inside : outside, part_end - part_begin);
    });
    if (reads) continue;
    // A device may end inside the last unit, at a block: that much every system writes that has such devices.
    const iovec whole{bounce.get(), std::min(piece, size() - at)};
    IoRequest aligned{IoOp::write, request.flags, at, whole.iov_len, {&whole, 1}};
    TRY(transfer(aligned));
  }
  return {};
}

Result<void> FileDevice::sync(const IoRequest& request) {
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);
  if (!writable_) return {};
  if (retry([&] { return ::fdatasync(fd_); }) < 0) return failed_request(*this, request, errno);
  return {};
}

Result<void> FileDevice::discard_range(const IoRequest& request) {
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);
  const auto offset = static_cast<off_t>(request.offset);
  const auto length = static_cast<off_t>(request.length);
  uint64_t range[2] = {request.offset, request.length};
  const int result = retry([&] {
    return is_block_device_ ? ::ioctl(fd_, BLKDISCARD, range)
                            : ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  });
  if (result < 0) return failed_request(*this, request, is_unsupported(errno) ? EOPNOTSUPP : errno);
  return has(request.flags, IoFlags::fua) ? sync(request) : Result<void>();
}

Result<void> FileDevice::write_zeroes_range(const IoRequest& request) {
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);
  const auto offset = static_cast<off_t>(request.offset);
  const auto length = static_cast<off_t>(request.length);
  uint64_t range[2] = {request.offset, request.length};
  const int result = retry([&] {
    return is_block_device_ ? ::ioctl(fd_, BLKZEROOUT, range)
                            : ::fallocate(fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
  });
  if (result < 0) {
    if (!is_unsupported(errno)) return failed_request(*this, request, errno);
    TRY(write_zero_bytes(request));
  }
  return has(request.flags, IoFlags::fua) ? sync(request) : Result<void>();
}

Result<void> FileDevice::write_zero_bytes(const IoRequest& request) {
  alignas(4096) static constexpr std::array<std::byte, 65536> zeroes{};
  std::array<iovec, iovecs_max> pieces;
  for (uint64_t done = 0; done < request.length;) {
    size_t count = 0;
    uint64_t length = 0;
    while (count < pieces.size() && done + length < request.length) {
      const size_t part = std::min<uint64_t>(zeroes.size(), request.length - done - length);
      pieces[count++] = {const_cast<std::byte*>(zeroes.data()), part};
      length += part;
    }
    IoRequest write{IoOp::write, IoFlags::none, request.offset + done, length,
                    std::span(pieces).first(count)};
    TRY(perform(write));
    done += length;
  }
  return {};
}

}  // namespace karst::block
