#include "btrfs/tool/restore/directory_handles.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btrfs/tool/restore/proc_path.h"

namespace karst::btrfs {
namespace {
constexpr size_t open_max = 64;
constexpr int directory_flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
}  // namespace

Result<std::vector<std::string>> path_components(std::string_view path) {
  std::vector<std::string> components;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const bool last = slash == std::string_view::npos;
    std::string_view part = path.substr(0, slash);
    path.remove_prefix(last ? path.size() : slash + 1);
    const bool ends_with_slash = !last && path.empty();
    if (part.empty() || part == "." || part == ".." || ends_with_slash ||
        part.find('\0') != std::string_view::npos)
      return Error(karst::err::invalid, "not the name of a file").at("name", part);
    components.emplace_back(part);
  }
  return components;
}

DirectoryHandles::~DirectoryHandles() { drop(0); }

void DirectoryHandles::close_step(Step& step) {
  if (step.fd < 0) return;
  if (step.mode) (void)chmod(ProcPath(step.fd).c_str(), *step.mode);
  close(std::exchange(step.fd, -1));
}

// The innermost first: its mode may not be given back through one that forbids it.
void DirectoryHandles::drop(size_t from) {
  while (steps_.size() > from) {
    close_step(steps_.back());
    steps_.pop_back();
  }
}

// False if the user cannot have them. Another thread may have taken them in the meantime.
bool DirectoryHandles::take_rights(size_t depth) {
  if (depth == 0) return false;
  Step& step = steps_[depth - 1];
  struct stat st;
  if (fstat(step.fd, &st) != 0) return false;
  if ((st.st_mode & 0700) == 0700) return true;
  if (chmod(ProcPath(step.fd).c_str(), (st.st_mode & 07777) | 0700) != 0) return false;
  step.mode = st.st_mode & 07777;
  return true;
}

Result<int> DirectoryHandles::open_step(int parent, const std::string& name, bool make_missing) {
  auto open = [&] { return openat(parent, name.c_str(), directory_flags); };
  int fd = with_rights(open);
  if (fd < 0 && errno == ENOENT && make_missing) {
    if (with_rights([&] { return mkdirat(parent, name.c_str(), 0700); }) != 0 && errno != EEXIST)
      return Error::from_errno(errno, "making a directory");
    fd = open();
  }
  if (fd < 0) return Error::from_errno(errno, fmt::format("opening the directory '{}'", name));
  return fd;
}

Result<NameInDirectory> DirectoryHandles::find(std::string_view path, bool make_missing) {
  auto components = TRY(path_components(path));
  if (components.empty()) return NameInDirectory{root_, "."};
  const size_t depth = components.size() - 1;
  size_t common = 0;
  while (common < depth && common < steps_.size() && steps_[common].name == components[common]) ++common;
  // Only a directory that is still open leads on; from the root otherwise.
  if (common > 0 && steps_[common - 1].fd < 0) common = 0;
  drop(common);
  for (size_t i = common; i < depth; ++i) {
    const int parent = i == 0 ? root_ : steps_[i - 1].fd;
    const int fd = TRY(open_step(parent, components[i], make_missing));
    steps_.push_back({std::move(components[i]), fd, {}});
    if (steps_.size() > open_max) close_step(steps_[steps_.size() - 1 - open_max]);
  }
  return NameInDirectory{depth == 0 ? root_ : steps_.back().fd, std::move(components.back())};
}

}  // namespace karst::btrfs
