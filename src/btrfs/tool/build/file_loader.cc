#include "btrfs/tool/build/file_loader.h"

#include <fcntl.h>

#include <algorithm>
#include <map>

#include "btrfs/format/inode_mode.h"
#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/posix_acl.h"

namespace karst::btrfs::build {
namespace {

const char* compression_word(CompressionChoice choice) {
  switch (choice) {
    case CompressionChoice::zlib: return "zlib";
    case CompressionChoice::lzo: return "lzo";
    case CompressionChoice::zstd: return "zstd";
    default: return nullptr;
  }
}

// The next stretch of data in [from, end), in whole sectors; empty at the end.
struct Stretch {
  uint64_t start = 0, end = 0;
};
Stretch next_data(int fd, uint64_t from, uint64_t end, uint64_t sector, bool may_be_sparse) {
  if (from >= end) return {end, end};
  if (!may_be_sparse) return {from, end};
  const off_t data = lseek(fd, static_cast<off_t>(from), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? Stretch{end, end} : Stretch{from, end};
  if (static_cast<uint64_t>(data) >= end) return {end, end};
  const off_t hole = lseek(fd, data, SEEK_HOLE);
  const uint64_t start = static_cast<uint64_t>(data) / sector * sector;
  const uint64_t stop = hole < 0 ? end : (static_cast<uint64_t>(hole) + sector - 1) / sector * sector;
  return {std::max(start, from), std::min(stop, end)};
}

}  // namespace

class FileLoader::Job {
 public:
  Job(const FileLoader& loader, LoadedBatch& out)
      : loader_(loader),
        geometry_(loader.geometry_),
        reader_(loader.files_),
        encoder_(geometry_, loader.codecs_, loader.options_.digests, out.data),
        out_(out) {}

  Result<void> load(const LoadTask& task) {
    LoadedInode loaded;
    loaded.number = task.inode.number;
    loaded.part = task.part;
    loaded.content = task.inode.content;
    if (task.inode.content == ContentKind::stored) loaded.token = task.inode.content_bytes;
    auto result = load_content(task, loaded);
    if (!result) {
      // How much a sparse file has allocated is in its item already, and cannot be kept to blindly.
      if (!task.part.first && task.inode.may_be_sparse) return result;
      TRY(loader_.options_.errors->failed(std::move(result).error()));
      loaded.failed = true;
      TRY(task.part.first ? leave_out(task, loaded) : fill_with_zeroes(task, loaded));
    }
    out_.inodes.push_back(std::move(loaded));
    return {};
  }
  void finish() { encoder_.finish(); }

 private:
  // Gone on without: the name stays, its content is nothing.
  Result<void> leave_out(const LoadTask& task, LoadedInode& loaded) {
    LoadTask without = task;
    without.inode.leave_out();
    without.stored_nbytes = 0;
    without.stored_inline.reset();
    loaded.has_extents = false;
    loaded.items = {};
    return load_content(without, loaded);
  }

  // A part that cannot be read, of a file that is there already. It is alone in its batch.
  Result<void> fill_with_zeroes(const LoadTask& task, LoadedInode& loaded) {
    out_.data.used = 0;
    out_.data.extents.clear();
    loaded.has_extents = true;
    loaded.size = task.inode.attributes.size;
    scratch_.assign(
        loader_.room_for(std::min<uint64_t>(loaded.size - task.part.offset, EncodedBatch::capacity)),
        std::byte{0});
    return encoder_.add(static_cast<uint32_t>(out_.inodes.size()), task.part.offset, scratch_,
                        encoding_of(task.inode.properties, loader_.options_.encoding));
  }

  using Xattrs = std::vector<std::pair<std::string, std::string>>;

  Result<void> load_content(const LoadTask& task, LoadedInode& loaded) {
    const InodeCopy& inode = task.inode;
    UniqueFd fd;
    const bool from_source = inode.has_origin && inode.attributes.is_regular();
    if (from_source && (inode.content == ContentKind::source_file || inode.xattrs_from_origin))
      fd = TRY(reader_.open(inode.origin_view()));
    loaded.size = inode.attributes.size;
    std::optional<InlineContent> in_item = task.stored_inline;
    uint64_t nbytes = task.stored_nbytes;
    if (inode.content == ContentKind::source_file) {
      TRY(load_file(task, fd.get(), loaded, in_item, nbytes));
    } else if (inode.content == ContentKind::bytes) {
      TRY(load_bytes(task, loaded, in_item, nbytes));
    } else if (inode.content == ContentKind::stored) {
      loaded.has_extents = !in_item;
    }
    if (in_item) nbytes = inode.attributes.is_regular() ? loaded.size : inode.content_bytes.size();
    Xattrs xattrs;
    if (task.part.first && !TRY(tolerated(load_xattrs(inode, fd.get(), xattrs)))) xattrs.clear();
    if (fd && inode.content == ContentKind::source_file)
      TRY(reader_.verify_unchanged(fd.get(), inode.origin_view()));
    if (!task.part.first) return {};
    if (TRY(tolerated(make_items(task, xattrs, nbytes, in_item, loaded)))) return {};
    loaded.items = {};
    return make_items(task, {}, nbytes, in_item, loaded);
  }

  // Whether it succeeded; false if the policy goes on without.
  Result<bool> tolerated(Result<void> done) {
    if (done) return true;
    TRY(loader_.options_.errors->failed(std::move(done).error()));
    return false;
  }

  bool fits_inline(uint64_t size, const Encoding& encoding) const {
    if (size == 0 || size >= geometry_.sectorsize + (encoding.compression != Compression::none)) return false;
    return encoding.compression != Compression::none || size <= inline_max();
  }
  uint32_t inline_max() const { return inline_limit(geometry_, loader_.options_.inline_max); }

  // A file's content into its item, if it is small; otherwise this part of it into the batch.
  Result<void> load_file(const LoadTask& task, int fd, LoadedInode& loaded,
                         std::optional<InlineContent>& in_item, uint64_t& nbytes) {
    const InodeCopy& inode = task.inode;
    const Encoding encoding = encoding_of(inode.properties, loader_.options_.encoding);
    const uint64_t size = inode.attributes.size, sector = geometry_.sectorsize;
    const bool all_hole = inode.may_be_sparse && next_data(fd, 0, size, 1, true).start >= size;
    if (fits_inline(size, encoding) && !all_hole) {
      scratch_.resize(size);
      TRY(reader_.read(fd, inode.origin_view(), 0, scratch_));
      in_item = TRY(inline_if_small(scratch_, encoding));
      if (in_item) return {};
    }
    loaded.has_extents = size > 0;
    const auto file = static_cast<uint32_t>(out_.inodes.size());
    const uint64_t end = std::min(size, task.part.offset + EncodedBatch::capacity);
    for (uint64_t at = task.part.offset;;) {
      Stretch data = next_data(fd, at, end, sector, inode.may_be_sparse);
      if (data.start >= end) break;
      TRY(load_stretch(fd, inode, file, data, encoding));
      at = data.end;
    }
    if (task.part.first) nbytes = allocated(fd, size, inode.may_be_sparse);
    return {};
  }

  // Raw data is read to where it is written from.
  Result<void> load_stretch(int fd, const InodeCopy& inode, uint32_t file, Stretch data,
                            const Encoding& encoding) {
    const uint64_t in_file = std::min(data.end, inode.attributes.size) - data.start;
    const auto bytes = static_cast<uint32_t>(loader_.room_for(in_file));
    MutableBytes room;
    if (encoding.compression == Compression::none) {
      room = encoder_.reserve(bytes);
    } else {
      scratch_.resize(bytes);
      room = scratch_;
    }
    TRY(reader_.read(fd, inode.origin_view(), data.start, room.first(in_file)));
    std::fill(room.begin() + static_cast<ptrdiff_t>(in_file), room.end(), std::byte{0});
    if (encoding.compression == Compression::none)
      encoder_.add_raw(file, data.start, bytes, encoding);
    else
      TRY(encoder_.add(file, data.start, room, encoding));
    return {};
  }

  uint64_t allocated(int fd, uint64_t size, bool may_be_sparse) const {
    uint64_t sum = 0;
    for (uint64_t at = 0; at < size;) {
      const Stretch data = next_data(fd, at, size, geometry_.sectorsize, may_be_sparse);
      sum += loader_.room_for(data.end - data.start);
      at = data.end;
    }
    return sum;
  }

  // A symlink's target, or what a plan gives as content.
  Result<void> load_bytes(const LoadTask& task, LoadedInode& loaded, std::optional<InlineContent>& in_item,
                          uint64_t& nbytes) {
    const InodeCopy& inode = task.inode;
    const Bytes content = inode.content_bytes;
    Encoding encoding = encoding_of(inode.properties, loader_.options_.encoding);
    if (inode.attributes.is_symlink()) {
      const uint32_t room = inline_limit(geometry_, UINT32_MAX);
      if (content.size() > room)
        return Error::make(err::source_target_too_long,
                           "/{}: the symbolic link's target does not fit into a tree block",
                           shown_path(inode.path))
            .expected(fmt::format("at most {} bytes", room), content.size());
      in_item.emplace();
      in_item->bytes.assign(content.begin(), content.end());
      loaded.size = content.size();
      return {};
    }
    loaded.size = content.size();
    if (fits_inline(content.size(), encoding)) {
      in_item = TRY(inline_if_small(content, encoding));
      if (in_item) return {};
    }
    if (content.empty()) return {};
    loaded.has_extents = true;
    nbytes = loader_.room_for(content.size());
    const Bytes part = content.subspan(
        task.part.offset, std::min<uint64_t>(EncodedBatch::capacity, content.size() - task.part.offset));
    std::vector<std::byte> padded(part.begin(), part.end());
    padded.resize(loader_.room_for(part.size()));
    return encoder_.add(static_cast<uint32_t>(out_.inodes.size()), task.part.offset, padded, encoding);
  }

  Result<std::optional<InlineContent>> inline_if_small(Bytes content, const Encoding& encoding) {
    InlineContent encoded = TRY(encode_inline(content, encoding, loader_.codecs_, geometry_.sectorsize));
    if (encoded.bytes.size() > inline_max()) return std::optional<InlineContent>();
    // Content that fills a sector is in its item only if it is compressed (Linux: cow_file_range_inline()).
    if (encoded.compression == Compression::none && content.size() >= geometry_.sectorsize)
      return std::optional<InlineContent>();
    return std::optional(std::move(encoded));
  }

  Result<void> load_xattrs(const InodeCopy& inode, int fd, Xattrs& out) {
    std::map<std::string, std::string> all;
    if (inode.xattrs_from_origin)
      TRY(reader_.for_each_xattr(inode.origin_view(), fd,
                                 [&](std::string_view name, Bytes value) -> Result<void> {
                                   all[std::string(name)] = as_text(value);
                                   return {};
                                 }));
    for (const XattrChange& change : inode.xattrs) {
      if (change.value)
        all[change.name] = *change.value;
      else
        all.erase(change.name);
    }
    if (auto acl = all.find(acl_access_xattr); acl != all.end())
      acl->second = acl_after_chmod(std::move(acl->second), inode.attributes.mode);
    if (const char* word = compression_word(inode.properties.compression);
        word && (inode.attributes.is_regular() || inode.attributes.is_directory()))
      all["btrfs.compression"] = word;
    out.assign(all.begin(), all.end());
    return {};
  }

  Result<void> make_items(const LoadTask& task, const Xattrs& xattrs, uint64_t nbytes,
                          const std::optional<InlineContent>& in_item, LoadedInode& loaded) {
    InodeFacts facts;
    facts.generation = loader_.options_.generation;
    facts.size = loaded.size;
    facts.nbytes = nbytes;
    facts.xattrs = xattrs;
    facts.compressed = compression_word(task.inode.properties.compression) != nullptr;
    TRY(inode_items(task.inode, facts, geometry_, loaded.items).context([&] {
      return "/" + shown_path(task.inode.path);
    }));
    if (!in_item) return {};
    FileExtentHead head{facts.generation,
                        loaded.size,
                        static_cast<uint8_t>(in_item->compression),
                        0,
                        0,
                        static_cast<uint8_t>(FileExtentType::inline_data)};
    loaded.items.add({loaded.number, ItemType::extent_data, 0}, {bytes_of(head), in_item->bytes});
    if (in_item->compression != Compression::none) loaded.inline_compression = in_item->compression;
    return {};
  }

  const FileLoader& loader_;
  const Geometry& geometry_;
  SourceReader reader_;
  ExtentEncoder encoder_;
  LoadedBatch& out_;
  std::vector<std::byte> scratch_;
};

Result<FileParts> FileParts::create(const SourceFiles& files, const InodeCopy& inode) {
  UniqueFd fd;
  if (inode.content == ContentKind::source_file && inode.may_be_sparse)
    fd = TRY(SourceReader(files).open(inode.origin_view()));
  return FileParts(inode.attributes.size, std::move(fd));
}

std::optional<LoadPart> FileParts::next() {
  if (!next_) return std::nullopt;
  LoadPart part{.offset = *next_, .first = *next_ == 0, .last = false};
  next_ = from(part.offset + EncodedBatch::capacity);
  part.last = !next_;
  return part;
}

std::optional<uint64_t> FileParts::from(uint64_t offset) const {
  if (offset >= size_) return std::nullopt;
  if (!fd_) return offset;
  const uint64_t data = next_data(fd_.get(), offset, size_, 1, true).start;
  return data < size_ ? std::optional(data / EncodedBatch::capacity * EncodedBatch::capacity) : std::nullopt;
}

Result<LoadedBatch> FileLoader::load(std::vector<LoadTask> tasks) const {
  LoadedBatch out;
  out.data.data = buffers_.take();
  Job job(*this, out);
  out.inodes.reserve(tasks.size());
  for (const LoadTask& task : tasks) TRY(job.load(task));
  job.finish();
  return out;
}

}  // namespace karst::btrfs::build
