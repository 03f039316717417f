#include "btrfs/tool/build/archive_source.h"

#include <archive.h>
#include <archive_entry.h>

#include "btrfs/tool/build/archive_entry.h"
#include "btrfs/tool/build/blob_stream.h"
#include "btrfs/tool/build/directory_source.h"
#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {
// Source: the OCI image specification, layer.md, "Whiteouts"; names that begin with the second are aufs's
// own.
constexpr std::string_view whiteout_prefix = ".wh.", whiteout_private = ".wh..wh.",
                           opaque_marker = ".wh..wh..opq";
constexpr size_t max_target = 4095;
constexpr uint64_t max_file_size = INT64_MAX;

class ArchiveReader {
 public:
  ArchiveReader(const ArchiveRead& read, BlobStream stream, Inventory& inventory, ContentStore& store)
      : read_(read),
        stream_(std::move(stream)),
        inventory_(inventory),
        store_(store),
        archive_(::archive_read_new(), ::archive_read_free) {}

  Result<void> run();

 private:
  Result<void> open();
  Result<void> one_entry(archive_entry* entry);
  Result<bool> whiteout(std::string_view path);
  Result<void> hard_link(std::string_view path, const char* target);
  Result<void> put(std::string_view path, archive_entry* entry);
  Result<ContentToken> content(std::string_view path, const Attributes& attributes, uint64_t& size);
  Result<void> copy_content(uint64_t& size);
  Result<std::string> path_of(const char* text) const;
  // An error of the source is its entry's, and the policy's to judge; others end everything.
  Result<void> refuse(Error error, std::string_view path);
  Error archive_error(const char* what);
  static la_ssize_t on_read(archive*, void* self, const void** buffer);

  const ArchiveRead& read_;
  BlobStream stream_;
  std::optional<Error> stream_error_;
  Inventory& inventory_;
  ContentStore& store_;
  const Utf8Locale locale_;
  std::unique_ptr<archive, decltype(&::archive_read_free)> archive_;
};

la_ssize_t ArchiveReader::on_read(archive* the_archive, void* self, const void** buffer) {
  auto* reader = static_cast<ArchiveReader*>(self);
  auto bytes = reader->stream_.next();
  if (!bytes) {
    ::archive_set_error(the_archive, EIO, "%s", bytes.error().what().c_str());
    reader->stream_error_.emplace(std::move(bytes).error());
    return ARCHIVE_FATAL;
  }
  *buffer = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

Error ArchiveReader::archive_error(const char* what) {
  if (stream_error_) {
    Error error = std::move(*stream_error_);
    stream_error_.reset();  // what comes after it is libarchive's
    return std::move(error).while_doing(read_.name);
  }
  const char* why = ::archive_error_string(archive_.get());
  return Error::make(err::source_archive, "{}: {}: {}", read_.name, what, why ? why : "no reason given");
}

Result<void> ArchiveReader::open() {
  if (!archive_) return Error(karst::err::no_memory, "no memory to read an archive");
  archive* a = archive_.get();
  ::archive_read_support_filter_all(a);
  // All that carry files of a Unix, or nearly. Not mtree, which names files of this machine.
  ::archive_read_support_format_tar(a);
  ::archive_read_support_format_gnutar(a);
  ::archive_read_support_format_cpio(a);
  ::archive_read_support_format_zip_streamable(a);
  ::archive_read_support_format_xar(a);
  ::archive_read_support_format_iso9660(a);
  ::archive_read_support_format_ar(a);
  ::archive_read_support_format_empty(a);
  if (::archive_read_open(a, this, nullptr, on_read, nullptr) < ARCHIVE_WARN)
    return archive_error("opening the archive");
  return {};
}

Result<void> ArchiveReader::run() {
  TRY(open());
  archive_entry* entry;
  for (;;) {
    TRY(read_.options.cancel.check());
    const int got = ::archive_read_next_header(archive_.get(), &entry);
    if (got == ARCHIVE_EOF) break;
    if (got == ARCHIVE_RETRY) continue;
    if (got < ARCHIVE_WARN) {
      Error error = archive_error("reading the next entry");
      if (got == ARCHIVE_FATAL) return error;
      TRY(refuse(std::move(error), ""));
      continue;
    }
    if (got == ARCHIVE_WARN) {
      const Error why = archive_error("reading an entry");
      read_.options.log.warning("an archive's entry is not read in full", {}, &why);
    }
    TRY(one_entry(entry));
    read_.options.progress.add(0, 1);
  }
  return stream_.verify().context([this] { return read_.name; });
}

Result<void> ArchiveReader::refuse(Error error, std::string_view path) {
  if (!error.is(err::source)) return error;
  Error named = path.empty()
                    ? std::move(error)
                    : std::move(error).while_doing(fmt::format("{}: {}", read_.name, shown_path(path)));
  return read_.options.errors ? read_.options.errors->failed(std::move(named)) : std::move(named);
}

Result<std::string> ArchiveReader::path_of(const char* text) const {
  if (!text) return Error(err::source_path_invalid, "an entry without a name");
  return join_paths(read_.target, TRY(normalize_path(text)));
}

Result<void> ArchiveReader::one_entry(archive_entry* entry) {
  const char* text = ::archive_entry_pathname(entry);
  auto done = [&]() -> Result<void> {
    const std::string path = TRY(path_of(text));
    if (read_.whiteouts && TRY(whiteout(path))) return {};
    // cpio has each name's attributes, and the data with one of them; link keys say it better.
    const bool is_cpio = (::archive_format(archive_.get()) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_CPIO;
    const char* target = ::archive_entry_hardlink(entry);
    return target && !is_cpio ? hard_link(path, target) : put(path, entry);
  }();
  return done ? std::move(done) : refuse(std::move(done).error(), text ? text : "");
}

Result<bool> ArchiveReader::whiteout(std::string_view path) {
  const std::string_view name = base_name(path);
  if (!name.starts_with(whiteout_prefix)) return false;
  if (name == opaque_marker) {
    TRY(inventory_.clear(parent_path(path)));
  } else if (!name.starts_with(whiteout_private)) {
    const std::string_view hidden = name.substr(whiteout_prefix.size());
    if (hidden.empty() || hidden == "." || hidden == "..")
      return Error(err::source_path_invalid, "a whiteout of nothing: " + shown_path(path));
    TRY(inventory_.remove(join_paths(parent_path(path), hidden)));
  }
  return true;
}

Result<void> ArchiveReader::hard_link(std::string_view path, const char* target) {
  const std::string target_path = TRY(path_of(target));
  if (target_path == path) return {};  // some writers do; it says nothing new
  return inventory_.link(path, target_path);
}

Result<void> ArchiveReader::put(std::string_view path, archive_entry* entry) {
  Entry put{.attributes = TRY(attributes_of(entry))};
  Attributes& attributes = put.attributes;
  XattrChanges xattrs;
  if (read_.spec.overrides.keep_xattrs)
    xattrs = TRY(xattrs_of(entry, path, read_.options.acl_names, read_.options.log, attributes.mode));
  put.xattrs = &xattrs;
  const LinkKey link_key{(uint64_t{1} << 32) + read_.number,
                         static_cast<uint64_t>(::archive_entry_dev(entry)),
                         static_cast<uint64_t>(::archive_entry_ino64(entry))};
  if (attributes.is_regular() && ::archive_entry_nlink(entry) > 1 &&
      (::archive_format(archive_.get()) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_CPIO)
    put.link_key = &link_key;
  ContentToken token;
  if (attributes.is_regular() && (attributes.size > 0 || !::archive_entry_size_is_set(entry))) {
    token = TRY(content(path, attributes, attributes.size));
    put.content = ContentKind::stored;
    put.content_bytes = token;
  }
  if (attributes.is_symlink()) {
    const char* target = ::archive_entry_symlink(entry);
    const std::string_view text = target ? target : "";
    if (text.empty()) return Error(err::source_unsupported, "a symlink without a target");
    if (text.size() > max_target)
      return Error::make(err::source_target_too_long, "a symlink's target of {} bytes", text.size());
    attributes.size = text.size();
    put.content = ContentKind::bytes;
    put.content_bytes = as_bytes(text);
  }
  apply_overrides(read_.spec.overrides, attributes);
  auto done = inventory_.put(path, put);
  if (!done && put.content == ContentKind::stored) store_.release(token);
  return done;
}

Result<ContentToken> ArchiveReader::content(std::string_view path, const Attributes& attributes,
                                            uint64_t& size) {
  TRY(store_.begin_file(path, inventory_.properties_at(path), attributes.size));
  auto copied = copy_content(size);
  if (!copied) {
    store_.abandon_file();
    return std::move(copied).error();
  }
  return store_.end_file(size);
}

// What the data ends before, if the header says more, is a hole, as in sparse archives.
Result<void> ArchiveReader::copy_content(uint64_t& size) {
  for (uint64_t done = 0;;) {
    const void* data;
    size_t length;
    la_int64_t offset;
    const int got = ::archive_read_data_block(archive_.get(), &data, &length, &offset);
    if (got == ARCHIVE_EOF) return {};
    if (got == ARCHIVE_RETRY) continue;
    if (got < ARCHIVE_WARN) return archive_error("reading an entry's contents");
    const uint64_t start = static_cast<uint64_t>(offset);  // one below 0 is beyond the limit, too
    if (start > max_file_size || length > max_file_size - start || (length > 0 && start < done))
      return Error::make(err::source_archive, "{}: contents at {} after those up to {}", read_.name, offset,
                         done);
    if (length > 0) TRY(store_.write(start, Bytes(static_cast<const std::byte*>(data), length)));
    done = std::max(done, start + length);
    size = std::max(size, done);
    read_.options.progress.add(length, 0);
    TRY(read_.options.cancel.check());
  }
}
}  // namespace

Result<void> read_archive(const ArchiveRead& read, Inventory& inventory, ContentStore& store) {
  inventory.begin_layer();
  BlobStream stream = TRY(BlobStream::create(read.fd, read.digest, read.options.cancel, read.pool));
  return ArchiveReader(read, std::move(stream), inventory, store).run();
}

}  // namespace karst::btrfs::build
