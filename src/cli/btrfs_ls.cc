// karst btrfs ls: lists directories.
#include <sys/sysmacros.h>

#include "btrfs/tool/walk.h"
#include "cli/image_arguments.h"
#include "cli/least_values.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct LsArguments {
  ImageArguments image;
  std::vector<std::string> paths;
  bool long_form = false, recursive = false, inodes = false, unsorted = false, directory_itself = false;
};

// How many names of a directory are sorted at a time: bounds the memory that a directory of any size takes,
// at the price of reading it once for each such number of its names.
constexpr size_t sorted_max = 1 << 17;

// One line's worth; the attributes are read again when it is printed, so that a large directory is cheap.
struct Name {
  std::string name;
  uint64_t index = 0;  // tells names apart that a broken directory has twice
  btrfs::InodeId id;
  bool is_subvolume = false;

  bool operator<(const Name& other) const {
    int order = name.compare(other.name);
    return order != 0 ? order < 0 : index < other.index;
  }
};

class Lister {
 public:
  Lister(const btrfs::Image& image, const Session& session, const LsArguments& arguments)
      : image_(image), fs_(image.fs()), session_(session), arguments_(arguments) {
    if (session.json()) array_.emplace();
  }

  // Lists what a path leads to: a directory's entries, or the thing itself.
  Result<void> list(const std::string& path);
  bool problems() const { return problems_; }

 private:
  Result<void> list_directory(const btrfs::InodeId& directory, const std::string& path, bool titled);
  Result<void> print(const Name& name, btrfs::InodeId parent, const std::string& path);
  Result<void> for_each_name(const btrfs::InodeId& directory, FunctionRef<void(Name)> take,
                             FunctionRef<void(const Error&)> left_out);
  void print_or_report(const Name& name, btrfs::InodeId directory, const std::string& path);
  void problem(const std::string& path, const Error& error) {
    problems_ = true;
    session_.log().error("cannot list", {{"path", path}}, &error);
  }

  const btrfs::Image& image_;
  const btrfs::Filesystem& fs_;
  const Session& session_;
  const LsArguments& arguments_;
  std::optional<JsonArray> array_;
  bool problems_ = false;
  bool printed_ = false;
};

Result<void> Lister::list(const std::string& path) {
  auto found = TRY(btrfs::resolve(fs_, image_.root(), path));
  if (!found.attributes.is_directory() || arguments_.directory_itself)
    return print({path, 0, found.id, false}, found.parent, path);
  if (!arguments_.recursive) return list_directory(found.id, path, arguments_.paths.size() > 1);
  // Directories in the order of the walk; each is listed as it comes.
  btrfs::Walker walker(fs_, found);
  for (;;) {
    auto entry = walker.next();
    if (!entry) {
      problem(path, entry.error());
      continue;
    }
    if (!*entry) return {};
    if (!(*entry)->attributes.is_directory() || (*entry)->id.is_empty_subvolume()) continue;
    std::string below((*entry)->path);
    std::string shown = below.empty() ? path : path.ends_with('/') ? path + below : path + "/" + below;
    auto listed = list_directory((*entry)->id, shown, true);
    if (!listed) problem(shown, listed.error());
  }
}

// In the order of their creation. An entry that cannot be read is left out; the error returned ends the
// directory.
Result<void> Lister::for_each_name(const btrfs::InodeId& directory, FunctionRef<void(Name)> take,
                                   FunctionRef<void(const Error&)> left_out) {
  if (directory.is_empty_subvolume()) return {};
  btrfs::DirectoryLister lister(fs_, TRY(fs_.tree(directory.subvolume)), directory.inode);
  lister.set_readahead(true);
  std::optional<uint64_t> broken;
  for (auto entry = lister.seek(0);; entry = lister.next()) {
    if (!entry) {
      // The lister goes on behind one bad entry, but not behind a bad block.
      if (lister.position() == ~0ull || lister.position() == broken) return std::move(entry).error();
      broken = lister.position();
      left_out(entry.error());
      continue;
    }
    if (!*entry) return {};
    take({std::string((*entry)->name), (*entry)->index, (*entry)->target, (*entry)->is_subvolume});
  }
}

void Lister::print_or_report(const Name& name, btrfs::InodeId directory, const std::string& path) {
  std::string full = path.ends_with('/') ? path + name.name : path + "/" + name.name;
  auto printed = print(name, directory, full);
  if (!printed) problem(full, printed.error());
}

Result<void> Lister::list_directory(const btrfs::InodeId& directory, const std::string& path, bool titled) {
  if (titled && !array_) fmt::print("{}{}:\n", printed_ ? "\n" : "", shown_name(path));
  printed_ = true;
  auto report = [&](const Error& error) { problem(path, error); };
  if (arguments_.unsorted)
    return for_each_name(
        directory, [&](const Name& name) { print_or_report(name, directory, path); }, report);
  std::optional<Name> last;
  for (;;) {
    LeastValues<Name> least(last, sorted_max);
    auto read = for_each_name(
        directory, [&](Name name) { least.add(std::move(name)); },
        [&](const Error& error) {
          if (!last) report(error);
        });
    std::vector<Name> names = least.take();
    for (const Name& name : names) print_or_report(name, directory, path);
    if (!least.left_some()) return read;
    last = std::move(names.back());
  }
}

Result<void> Lister::print(const Name& name, btrfs::InodeId parent, const std::string& path) {
  printed_ = true;
  if (!arguments_.long_form && !array_) {
    if (arguments_.inodes) fmt::print("{} ", name.id.inode);
    fmt::print("{}\n", shown_name(name.name));
    return {};
  }
  btrfs::Attributes attributes = TRY(btrfs::attributes_of(fs_, name.id, parent));
  std::string target;
  if (attributes.is_symlink()) {
    btrfs::Cursor cursor(TRY(fs_.tree(name.id.subvolume)));
    target = TRY(btrfs::read_symlink(cursor, attributes));
  }
  if (array_) {
    Json object;
    set_name(object, "path", path);
    set_name(object, "name", name.name);
    object["subvolume"] = name.id.subvolume;
    object["subvolume_root"] = name.is_subvolume;
    object.update(attributes_json(attributes, fs_.geometry().sectorsize));
    if (attributes.is_symlink()) set_name(object, "target", target);
    array_->add(object);
    return {};
  }
  if (arguments_.inodes) fmt::print("{:>8} ", name.id.inode);
  std::string size = S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode)
                         ? fmt::format("{}, {}", major(attributes.rdev), minor(attributes.rdev))
                         : fmt::format("{}", attributes.size);
  fmt::print("{} {:>3} {:>5} {:>5} {:>10} {} {}{}{}\n", mode_text(attributes.mode), attributes.nlink,
             attributes.uid, attributes.gid, size, time_text(attributes.mtime), shown_name(name.name),
             target.empty() ? "" : " -> ", shown_name(target));
  return {};
}

Result<int> run_ls(const Session& session, const LsArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  Lister lister(*opened.image, session, arguments);
  int status = exit_ok;
  auto paths = arguments.paths;
  if (paths.empty()) paths.push_back("/");
  for (const std::string& path : paths) {
    auto listed = lister.list(path);
    if (listed) continue;
    status = exit_problems;
    print_problem(listed.error());
  }
  return lister.problems() ? exit_problems : status;
}

}  // namespace

void add_btrfs_ls(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("ls", "List directories");
  auto arguments = std::make_shared<LsArguments>();
  arguments->image.declare(verb);
  verb.add_option("PATH", arguments->paths, "Directories or files in the image (default: /)");
  verb.add_flag("-l", arguments->long_form, "Long form: mode, links, owner, group, size, time");
  verb.add_flag("-R,--recursive", arguments->recursive, "List subdirectories and subvolumes too");
  verb.add_flag("-i,--inode", arguments->inodes, "Print inode numbers");
  verb.add_flag("-U", arguments->unsorted, "Do not sort: the order of creation");
  verb.add_flag("-d,--directory", arguments->directory_itself,
                "List directories themselves, not what is in them");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_ls(session, *arguments); });
}

}  // namespace karst::cli
