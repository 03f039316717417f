// karst btrfs stat: everything an inode says.
#include <sys/sysmacros.h>

#include "btrfs/file/names.h"
#include "btrfs/file/xattr.h"
#include "cli/image_arguments.h"
#include "cli/output.h"
#include "core/printable.h"

namespace karst::cli {
namespace {

struct StatArguments {
  ImageArguments image;
  std::vector<std::string> paths;
  bool follow = false;
};

struct Facts {
  btrfs::Located located;
  std::string target;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

Result<Facts> collect(const OpenedImage& opened, const std::string& path, bool follow) {
  Facts facts;
  facts.located = TRY(btrfs::resolve(opened.fs(), opened.image->root(), path,
                                     follow ? btrfs::LastSymlink::follow : btrfs::LastSymlink::keep));
  if (facts.located.id.is_empty_subvolume()) return facts;
  btrfs::Cursor cursor(TRY(opened.fs().tree(facts.located.id.subvolume)));
  if (facts.located.attributes.is_symlink())
    facts.target = TRY(btrfs::read_symlink(cursor, facts.located.attributes));
  TRY(btrfs::for_each_xattr(cursor, facts.located.id.inode,
                            [&](std::string_view name, Bytes value) -> Result<void> {
                              facts.xattrs.emplace_back(name, as_text(value));
                              return {};
                            }));
  return facts;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (unsigned char c : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", c);
  return text;
}

void print_text(const OpenedImage& opened, const std::string& path, const Facts& facts) {
  const btrfs::Attributes& a = facts.located.attributes;
  struct stat st = a.to_stat(opened.fs().geometry().sectorsize);
  fmt::print("  File: {}{}{}\n", shown_name(path), facts.target.empty() ? "" : " -> ",
             shown_name(facts.target));
  fmt::print("  Size: {:<15} Blocks: {:<10} IO Block: {:<6} {}\n", a.size, st.st_blocks, st.st_blksize,
             type_word(a.mode));
  fmt::print("Subvol: {:<15} Inode: {:<11} Links: {}", facts.located.id.subvolume, a.inode, a.nlink);
  if (st.st_rdev) fmt::print("     Device type: {},{}", major(st.st_rdev), minor(st.st_rdev));
  fmt::print("\nAccess: ({:04o}/{})  Uid: {}  Gid: {}\n", a.mode & 07777, mode_text(a.mode), a.uid, a.gid);
  fmt::print("Access: {}\nModify: {}\nChange: {}\n Birth: {}\n", time_text_full(a.atime),
             time_text_full(a.mtime), time_text_full(a.ctime), time_text_full(a.otime));
  fmt::print(" Flags: {}\nGeneration: {}  Transid: {}  Sequence: {}\n", inode_flags_text(a.flags),
             a.generation, a.transid, a.sequence);
  for (const auto& [name, value] : facts.xattrs)
    fmt::print(" Xattr: {} (0x{})\n", shown_name(name), hex(value));
}

Json to_json(const OpenedImage& opened, const std::string& path, const Facts& facts) {
  Json object;
  set_name(object, "path", path);
  object["subvolume"] = facts.located.id.subvolume;
  object.update(attributes_json(facts.located.attributes, opened.fs().geometry().sectorsize));
  if (!facts.target.empty()) set_name(object, "target", facts.target);
  object["flags"] = inode_flags_text(facts.located.attributes.flags);
  object["generation"] = facts.located.attributes.generation;
  object["transid"] = facts.located.attributes.transid;
  object["sequence"] = facts.located.attributes.sequence;
  Json xattrs = Json::object();
  for (const auto& [name, value] : facts.xattrs) xattrs[printable(name)] = hex(value);
  object["xattrs"] = std::move(xattrs);
  return object;
}

Result<int> run_stat(const Session& session, const StatArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  std::optional<JsonArray> array;
  if (session.json()) array.emplace();
  int status = exit_ok;
  for (const std::string& path : arguments.paths) {
    auto facts = collect(opened, path, arguments.follow);
    if (!facts) {
      print_problem(facts.error());
      status = exit_problems;
      continue;
    }
    if (array)
      array->add(to_json(opened, path, *facts));
    else
      print_text(opened, path, *facts);
  }
  return status;
}

}  // namespace

void add_btrfs_stat(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("stat", "Print what an inode says: mode, times, flags, attributes");
  auto arguments = std::make_shared<StatArguments>();
  arguments->image.declare(verb);
  verb.add_option("PATH", arguments->paths, "Files in the image")->required();
  verb.add_flag("-L,--dereference", arguments->follow, "Follow symbolic links");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_stat(session, *arguments); });
}

}  // namespace karst::cli
