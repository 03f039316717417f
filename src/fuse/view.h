// An image as its mount shows it: node ids to attributes, names, bytes. One server thread's view, with that
// thread's cursors and buffers; knows nothing of libfuse.
//
// Subvolumes and snapshots appear as directories of one tree, as far as names lead to them. Errors are those
// of the btrfs floor, and not_found for a node id that is not known.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/open_image.h"
#include "fuse/node_ids.h"

namespace karst::fuse {

// What all views of one mount share.
struct Served {
  btrfs::Image& image;
  NodeIds nodes;
  explicit Served(btrfs::Image& served) : image(served), nodes(served.root()) {}
};

class View {
 public:
  // Of one request. Larger ones were not faster: several are in flight, and each stays in a processor's cache
  // from the device to the kernel.
  static constexpr size_t read_size_max = 512 << 10;

  explicit View(Served& served);
  ~View();

  struct Entry {
    NodeId node{};  // 0: has no number without a look-up
    uint64_t generation = 0;
    struct stat stat {};
  };

  Result<Node> node(NodeId node) const;
  Result<btrfs::Attributes> attributes(const Node& node);
  Result<Entry> entry(NodeId node);

  // The entry of that name, counted in the table of node ids if it is there; nothing if there is none. "."
  // and ".." work too: file handles need them.
  Result<std::optional<Entry>> look_up(NodeId directory, std::string_view name);

  // One name of a directory. The position of the next one follows; positions stay valid for ever.
  struct Listed {
    std::string_view name;  // borrowed until the next one
    uint64_t st_ino;
    mode_t type;  // S_IFMT bits
    uint64_t next;
    // The attributes, unless it is "." or ".." or they cannot be had without a look-up.
    std::optional<Entry> entry;
  };
  enum class With : uint8_t { names, attributes };
  // Gives the names from a position (0: the start) on until `take` returns false. An entry that cannot be
  // read is left out if others follow it.
  Result<void> list(NodeId directory, uint64_t position, With with, FunctionRef<bool(const Listed&)> take,
                    FunctionRef<void(const Error&)> left_out);

  Result<std::string> read_link(NodeId node);
  Result<std::string> xattr(NodeId node, std::string_view name);
  // The names, each with a NUL after it.
  Result<std::string> xattr_names(NodeId node);

  // At most read_size_max bytes of a file; borrowed until the next call. Short only at the end of the file.
  Result<Bytes> read(NodeId node, uint64_t offset, size_t size);
  enum class Seek : uint8_t { data, hole };
  Result<std::optional<uint64_t>> seek(NodeId node, uint64_t offset, Seek what);

 private:
  Result<btrfs::Cursor*> cursor(uint64_t subvolume);
  Result<Entry> entry_of(NodeId node, const Node& what);
  Result<Node> parent_of(const Node& directory);
  std::optional<Listed> listed(const btrfs::DirectoryEntry& found, uint64_t directory, With with);

  Served& served_;
  const btrfs::Filesystem& fs_;
  btrfs::Tree tree_;  // what cursor_ walks
  btrfs::Cursor cursor_;
  btrfs::DataReader reader_;
  std::unique_ptr<std::byte[], void (*)(void*)> buffer_;
};

}  // namespace karst::fuse
