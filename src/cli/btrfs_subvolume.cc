// karst btrfs subvolume list: the subvolumes of a file system.
#include "btrfs/subvol/subvolumes.h"
#include "cli/image_arguments.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct ListArguments {
  ImageArguments image;
  bool parent = false, uuid = false, parent_uuid = false, received_uuid = false, created = false;
  bool snapshots = false, readonly = false, deleted = false;
};

std::string uuid_or_dash(const Uuid& uuid) { return uuid.is_null() ? "-" : uuid.text(); }
Json uuid_or_null(const Uuid& uuid) { return uuid.is_null() ? Json() : Json(uuid.text()); }
timespec created_at(const btrfs::RootItem& item) {
  return {item.otime.seconds, static_cast<long>(item.otime.nanoseconds.value())};
}

bool is_wanted(const btrfs::Subvolume& subvolume, const ListArguments& arguments) {
  if (subvolume.id() == btrfs::id::fs_tree) return false;  // as btrfs subvolume list
  if (subvolume.deleted() != arguments.deleted) return false;
  if (arguments.snapshots && subvolume.root.item.parent_uuid.is_null()) return false;
  return !arguments.readonly || subvolume.readonly();
}

void print_text(const btrfs::Subvolume& subvolume, const ListArguments& arguments) {
  const btrfs::RootItem& item = subvolume.root.item;
  std::string line = fmt::format("ID {} gen {}", subvolume.id(), item.generation.value());
  if (arguments.snapshots) line += fmt::format(" cgen {}", item.otransid.value());
  if (arguments.parent) line += fmt::format(" parent {}", subvolume.parent);
  line += fmt::format(" top level {}", subvolume.parent);
  if (arguments.snapshots || arguments.created) {
    std::string when = time_text_full(created_at(item)).substr(0, 19);
    line += fmt::format(" otime {}", item.otime.seconds == 0 ? "-" : when);
  }
  if (arguments.parent_uuid) line += fmt::format(" parent_uuid {:<36}", uuid_or_dash(item.parent_uuid));
  if (arguments.received_uuid) line += fmt::format(" received_uuid {:<36}", uuid_or_dash(item.received_uuid));
  if (arguments.uuid) line += fmt::format(" uuid {:<36}", uuid_or_dash(item.uuid));
  fmt::print("{} path {}\n", line, subvolume.deleted() ? "DELETED" : shown_name(subvolume.path));
}

Json to_json(const btrfs::Subvolume& subvolume) {
  const btrfs::RootItem& item = subvolume.root.item;
  Json object;
  object["id"] = subvolume.id();
  object["generation"] = item.generation.value();
  object["created_generation"] = item.otransid.value();
  object["parent"] = subvolume.parent;
  object["created"] = item.otime.seconds == 0 ? Json() : Json(time_json(created_at(item)));
  object["uuid"] = uuid_or_null(item.uuid);
  object["parent_uuid"] = uuid_or_null(item.parent_uuid);
  object["received_uuid"] = uuid_or_null(item.received_uuid);
  object["readonly"] = subvolume.readonly();
  object["deleted"] = subvolume.deleted();
  set_name(object, "path", subvolume.path);
  return object;
}

Result<int> run_list(const Session& session, const ListArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  auto subvolumes = TRY(btrfs::list_subvolumes(opened.fs()));
  std::optional<JsonArray> array;
  if (session.json()) array.emplace();
  for (const btrfs::Subvolume& subvolume : subvolumes) {
    if (!is_wanted(subvolume, arguments)) continue;
    if (array)
      array->add(to_json(subvolume));
    else
      print_text(subvolume, arguments);
  }
  return exit_ok;
}

Result<int> run_get_default(const Session& session, const ImageArguments& image) {
  auto opened = TRY(image.open(session));
  uint64_t id = TRY(btrfs::default_subvolume(opened.fs()));
  for (const btrfs::Subvolume& subvolume : TRY(btrfs::list_subvolumes(opened.fs()))) {
    if (subvolume.id() != id) continue;
    if (session.json())
      fmt::print("{}\n", to_json(subvolume).dump());
    else if (id == btrfs::id::fs_tree)
      fmt::print("ID 5 (FS_TREE)\n");
    else
      print_text(subvolume, {});
  }
  return exit_ok;
}

}  // namespace

void add_btrfs_subvolume(CLI::App& btrfs, Session& session) {
  CLI::App& group = *btrfs.add_subcommand("subvolume", "List subvolumes and snapshots");
  group.require_subcommand(1);

  CLI::App& list = *group.add_subcommand("list", "List the subvolumes by their ids");
  auto arguments = std::make_shared<ListArguments>();
  arguments->image.declare(list);
  list.add_flag("-p", arguments->parent, "Print the parent's id");
  list.add_flag("-u", arguments->uuid, "Print the UUID");
  list.add_flag("-q", arguments->parent_uuid, "Print the UUID of the subvolume it is a snapshot of");
  list.add_flag("-R", arguments->received_uuid, "Print the UUID of the subvolume it was received from");
  list.add_flag("-c", arguments->created, "Print the time of creation");
  list.add_flag("-s", arguments->snapshots, "Only snapshots");
  list.add_flag("-r", arguments->readonly, "Only read-only ones");
  list.add_flag("-d", arguments->deleted, "Only deleted ones that are not yet cleaned up");
  session.offer_json(list);
  session.verb(list, [&session, arguments] { return run_list(session, *arguments); });

  CLI::App& get_default = *group.add_subcommand("get-default", "Print the default subvolume");
  auto image = std::make_shared<ImageArguments>();
  image->declare(get_default);
  session.offer_json(get_default);
  session.verb(get_default, [&session, image] { return run_get_default(session, *image); });
}

}  // namespace karst::cli
