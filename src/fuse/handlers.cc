// Caching: nobody changes the image under us, so whatever the kernel is told once stays true. Entries (and
// their absence), attributes, listings, link targets and file contents all are cached without end, and the
// kernel asks again only for what it dropped for want of memory. Opening files and directories is not even
// asked for (ENOSYS once), which leaves two requests for a small file that is read after its directory was
// listed: none to look it up, one to read it, and forgetting it.
#include "fuse/handlers.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <new>

namespace karst::fuse {
namespace {

constexpr double for_ever = 1e9;  // seconds; what the kernel makes of it is more than thirty years

thread_local View* thread_view = nullptr;

HandlerContext& context_of(fuse_req_t request) {
  return *static_cast<HandlerContext*>(fuse_req_userdata(request));
}

// What any program may cause is no news about the image.
bool is_news(const Error& error) {
  for (const ErrorKind* usual :
       {&err::not_found, &err::no_attribute, &err::invalid, &err::range, &err::too_long})
    if (error.is(*usual)) return false;
  return true;
}

void report(HandlerContext& context, const char* what, NodeId node, const Error& error) {
  if (!is_news(error)) return;
  auto found = context.served.nodes.find(node);
  const btrfs::InodeId id = found ? found->id : btrfs::InodeId{};
  context.log.warning(what, {{"subvolume", id.subvolume}, {"inode", id.inode}}, &error);
}

// Runs the body of a handler, which returns Result<void> and has replied if that is a success.
template <typename F>
void answer(fuse_req_t request, fuse_ino_t node, const char* what, F&& body) {
  try {
    Result<void> done = body(*thread_view);
    if (done) return;
    report(context_of(request), what, NodeId{node}, done.error());
    fuse_reply_err(request, done.error().errno_value());
  } catch (const std::bad_alloc&) {
    fuse_reply_err(request, ENOMEM);
  }
}

fuse_entry_param parameters_of(const View::Entry& entry) {
  fuse_entry_param reply{};
  reply.ino = raw(entry.node);
  reply.generation = entry.generation;
  reply.attr = entry.stat;
  reply.attr_timeout = for_ever;
  reply.entry_timeout = for_ever;
  return reply;
}

void init(void* user_data, fuse_conn_info* connection) {
  auto& context = *static_cast<HandlerContext*>(user_data);
  auto want = [&](unsigned flags) { connection->want |= connection->capable & flags; };
  want(FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_CACHE_SYMLINKS |
       FUSE_CAP_EXPORT_SUPPORT);
  // The kernel would drop cached data when times change, and ask for them on each read to see whether they
  // do.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS_AUTO);
  if (context.use_acls) want(FUSE_CAP_POSIX_ACL);
  connection->max_read = View::read_size_max;  // as the mount option says
  connection->max_background = 64;
  connection->congestion_threshold = 48;
  connection->time_gran = 1;
}

void lookup(fuse_req_t request, fuse_ino_t directory, const char* name) {
  answer(request, directory, "name not looked up", [&](View& view) -> Result<void> {
    auto found = TRY(view.look_up(NodeId{directory}, name));
    fuse_entry_param reply{};
    reply.entry_timeout = for_ever;  // node 0: there is none, which may be remembered
    if (found) reply = parameters_of(*found);
    if (fuse_reply_entry(request, &reply) != 0 && found)
      context_of(request).served.nodes.forget(found->node, 1);
    return {};
  });
}

void forget(fuse_req_t request, fuse_ino_t node, uint64_t lookups) {
  context_of(request).served.nodes.forget(NodeId{node}, lookups);
  fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  NodeIds& nodes = context_of(request).served.nodes;
  for (size_t i = 0; i < count; ++i) nodes.forget(NodeId{forgets[i].ino}, forgets[i].nlookup);
  fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  answer(request, node, "attributes not read", [&](View& view) -> Result<void> {
    auto entry = TRY(view.entry(NodeId{node}));
    fuse_reply_attr(request, &entry.stat, for_ever);
    return {};
  });
}

void readlink(fuse_req_t request, fuse_ino_t node) {
  answer(request, node, "symbolic link not read", [&](View& view) -> Result<void> {
    fuse_reply_readlink(request, TRY(view.read_link(NodeId{node})).c_str());
    return {};
  });
}

void open(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  // ENOSYS: opening always succeeds, keeps the cache, and need not be asked for again (since Linux 3.15).
  fuse_reply_err(request, ENOSYS);
}

void opendir(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, ENOSYS);  // the same for directories, listings cached (since Linux 5.1)
}

void read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
  answer(request, node, "file not read", [&](View& view) -> Result<void> {
    // All or nothing: a short answer would mean that the file ends there. The kernel then asks for the pages
    // of a failed read one by one, so that only the bad ones are lost.
    Bytes bytes = TRY(view.read(NodeId{node}, static_cast<uint64_t>(offset), size));
    fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  });
}

void list(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, View::With with) {
  answer(request, node, "directory not listed", [&](View& view) -> Result<void> {
    thread_local std::vector<char> buffer;  // kept for the next listing
    if (buffer.size() < size) buffer.resize(size);
    size_t used = 0;
    auto take = [&](const View::Listed& item) {
      char name[btrfs::max_name_length + 1] = {};
      item.name.copy(name, sizeof name - 1);
      fuse_entry_param entry{};
      if (item.entry) entry = parameters_of(*item.entry);
      entry.attr.st_ino = item.st_ino;
      if (!item.entry) entry.attr.st_mode = item.type;
      const size_t room = size - used;
      const auto next = static_cast<off_t>(item.next);
      size_t needed = with == View::With::attributes
                          ? fuse_add_direntry_plus(request, buffer.data() + used, room, name, &entry, next)
                          : fuse_add_direntry(request, buffer.data() + used, room, name, &entry.attr, next);
      if (needed > room) return false;
      used += needed;
      return true;
    };
    auto left_out = [&](const Error& error) {
      report(context_of(request), "name left out of a listing", NodeId{node}, error);
    };
    auto listed = view.list(NodeId{node}, static_cast<uint64_t>(offset), with, take, left_out);
    // What was found before an error is shown; the next request will meet the error at its start.
    if (!listed && used == 0) return listed;
    fuse_reply_buf(request, buffer.data(), used);
    return {};
  });
}

void readdir(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
  list(request, node, size, offset, View::With::names);
}

void readdirplus(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
  list(request, node, size, offset, View::With::attributes);
}

void statfs(fuse_req_t request, fuse_ino_t) { fuse_reply_statfs(request, &context_of(request).space); }

// A size of 0 asks how much room is needed.
void reply_sized(fuse_req_t request, const std::string& value, size_t size) {
  if (size == 0)
    fuse_reply_xattr(request, value.size());
  else if (value.size() > size)
    fuse_reply_err(request, ERANGE);
  else
    fuse_reply_buf(request, value.data(), value.size());
}

void getxattr(fuse_req_t request, fuse_ino_t node, const char* name, size_t size) {
  answer(request, node, "extended attribute not read", [&](View& view) -> Result<void> {
    reply_sized(request, TRY(view.xattr(NodeId{node}, name)), size);
    return {};
  });
}

void listxattr(fuse_req_t request, fuse_ino_t node, size_t size) {
  answer(request, node, "extended attributes not listed", [&](View& view) -> Result<void> {
    reply_sized(request, TRY(view.xattr_names(NodeId{node})), size);
    return {};
  });
}

void lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info*) {
  answer(request, node, "file not searched for data and holes", [&](View& view) -> Result<void> {
    if (offset < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE))
      return Error(err::invalid, "bad position");
    auto what = whence == SEEK_DATA ? View::Seek::data : View::Seek::hole;
    auto found = TRY(view.seek(NodeId{node}, static_cast<uint64_t>(offset), what));
    if (found)
      fuse_reply_lseek(request, static_cast<off_t>(*found));
    else
      fuse_reply_err(request, ENXIO);
    return {};
  });
}

const fuse_lowlevel_ops operations = [] {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.forget = forget;
  ops.forget_multi = forget_multi;
  ops.getattr = getattr;
  ops.readlink = readlink;
  ops.open = open;
  ops.opendir = opendir;
  ops.read = read;
  ops.readdir = readdir;
  ops.readdirplus = readdirplus;
  ops.statfs = statfs;
  ops.getxattr = getxattr;
  ops.listxattr = listxattr;
  ops.lseek = lseek;
  return ops;
}();

// Structures of the protocol that libfuse 3.14 lacks. Source: Linux include/uapi/linux/fuse.h (7.39),
// struct fuse_in_header, fuse_out_header, fuse_statx_out, fuse_statx, fuse_sx_time. Host byte order.
constexpr uint32_t statx_opcode = 52;

struct RequestHeader {
  uint32_t len, opcode;
  uint64_t unique, nodeid;
  uint32_t uid, gid, pid, unused;
};
static_assert(sizeof(RequestHeader) == 40);

struct StatxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
  static StatxTime from(const timespec& time) {
    return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec), 0};
  }
};

struct StatxReply {
  uint32_t len;
  int32_t error;
  uint64_t unique;
  uint64_t attr_valid;  // seconds
  uint32_t attr_valid_nsec, flags;
  uint64_t spare[2];
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, spare_mode;
  uint64_t ino, size, blocks, attributes_mask;
  StatxTime atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t spare_end[14];
};
static_assert(sizeof(StatxReply) == 16 + 32 + 256);

StatxReply statx_reply(uint64_t st_ino, const btrfs::Attributes& attributes, uint32_t sectorsize) {
  const struct stat st = attributes.to_stat(sectorsize);
  StatxReply reply{};
  reply.attr_valid = static_cast<uint64_t>(for_ever);
  reply.mask = STATX_BASIC_STATS | STATX_BTIME;
  reply.blksize = static_cast<uint32_t>(st.st_blksize);
  reply.nlink = static_cast<uint32_t>(st.st_nlink);
  reply.uid = st.st_uid;
  reply.gid = st.st_gid;
  reply.mode = static_cast<uint16_t>(st.st_mode);
  reply.ino = st_ino;
  reply.size = static_cast<uint64_t>(st.st_size);
  reply.blocks = static_cast<uint64_t>(st.st_blocks);
  reply.atime = StatxTime::from(st.st_atim);
  reply.btime = StatxTime::from(attributes.otime);
  reply.ctime = StatxTime::from(st.st_ctim);
  reply.mtime = StatxTime::from(st.st_mtim);
  reply.rdev_major = major(st.st_rdev);
  reply.rdev_minor = minor(st.st_rdev);
  return reply;
}

}  // namespace

void use_view(View* view) { thread_view = view; }

const fuse_lowlevel_ops& handlers() { return operations; }

bool handle_raw(fuse_session* session, HandlerContext& context, const fuse_buf& request) {
  RequestHeader header;
  if (request.size < sizeof header || (request.flags & FUSE_BUF_IS_FD)) return false;
  std::memcpy(&header, request.mem, sizeof header);
  if (header.opcode != statx_opcode) return false;
  const NodeId node{header.nodeid};
  StatxReply reply{};
  auto filled = [&]() -> Result<StatxReply> {
    auto attributes = TRY(thread_view->attributes(TRY(thread_view->node(node))));
    return statx_reply(context.served.nodes.st_ino(node), attributes,
                       context.served.image.fs().geometry().sectorsize);
  }();
  if (filled)
    reply = *filled;
  else
    report(context, "attributes not read", node, filled.error());
  reply.error = filled ? 0 : -filled.error().errno_value();
  reply.len = filled ? sizeof reply : 16;
  reply.unique = header.unique;
  // Fails if the request was interrupted or the mount has ended; neither needs an answer.
  [[maybe_unused]] ssize_t written = ::write(fuse_session_fd(session), &reply, reply.len);
  return true;
}

}  // namespace karst::fuse
