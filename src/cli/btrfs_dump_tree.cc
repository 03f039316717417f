// karst btrfs dump-tree: the trees as they are on disk.
#include <fcntl.h>

#include "btrfs/format/print.h"
#include "btrfs/tool/dump_tree.h"
#include "cli/image_arguments.h"
#include "cli/open_named.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct DumpTreeArguments {
  ImageArguments image;
  btrfs::DumpSelection selection;
  btrfs::PrintOptions print;
  std::optional<std::string> tree;
  std::vector<std::string> blocks;
  bool backups = false, breadth_first = false, noscan = false;
};

Result<void> write_out(std::string_view text) {
  if (fwrite(text.data(), 1, text.size(), stdout) == text.size()) return {};
  return output_error(errno);
}

class Receiver : public btrfs::DumpReceiver {
 public:
  Receiver(const Session& session, const DumpTreeArguments& arguments)
      : session_(session), arguments_(arguments) {}
  void set_geometry(const btrfs::Geometry& geometry) { geometry_ = &geometry; }
  void problem(const Error& error) override {
    ++problems_;
    session_.log().error("dump-tree", {}, &error);
  }
  uint64_t problems() const { return problems_; }
  virtual Result<void> finish(const btrfs::Superblock& super, bool with_totals) = 0;

 protected:
  const Session& session_;
  const DumpTreeArguments& arguments_;
  const btrfs::Geometry* geometry_ = nullptr;
  uint64_t problems_ = 0;
};

// Line by line what btrfs-progs v6.19 prints, but for the first line, which names the program.
class TextReceiver : public Receiver {
 public:
  using Receiver::Receiver;
  Result<void> tree(const btrfs::DumpedTree& tree) override;
  Result<void> block(const btrfs::TreeBlock& block) override;
  Result<void> finish(const btrfs::Superblock& super, bool with_totals) override;
};

Result<void> TextReceiver::tree(const btrfs::DumpedTree& tree) {
  const auto& selection = arguments_.selection;
  if (!tree.key && selection.roots_only && !selection.tree)
    return write_out(fmt::format("{} tree: {} level {}\n", tree.name, tree.bytenr, tree.level));
  if (!tree.key) return write_out(fmt::format("{} tree\n", tree.name));
  std::string line = fmt::format("{} tree key {}", tree.name, *tree.key);
  if (selection.roots_only && !selection.extents)
    line += fmt::format(" {} level {}", tree.bytenr, tree.level);
  else if (!selection.extents)
    line += ' ';
  return write_out(line + '\n');
}

Result<void> TextReceiver::block(const btrfs::TreeBlock& block) {
  Result<void> written;
  btrfs::print_block(block, *geometry_, arguments_.print, [&](std::string_view text) {
    if (written) written = write_out(text);
  });
  return written;
}

std::string backup_text(const btrfs::RootBackup& backup, int slot, bool extent_tree_v2) {
  auto root = [](const char* name, uint64_t generation, uint64_t bytenr) {
    return fmt::format("{} gen {} block {}\n", name, generation, bytenr);
  };
  return fmt::format("btrfs root backup slot {}\n", slot) +
         root("\ttree root", backup.tree_root_gen, backup.tree_root) +
         root(extent_tree_v2 ? "\t\tblock group root" : "\t\textent root", backup.extent_root_gen,
              backup.extent_root) +
         root("\t\tchunk root", backup.chunk_root_gen, backup.chunk_root) +
         root("\t\tdevice root", backup.dev_root_gen, backup.dev_root) +
         root("\t\tcsum root", backup.csum_root_gen, backup.csum_root) +
         root("\t\tfs root", backup.fs_root_gen, backup.fs_root) +
         fmt::format("\t\t{} used {} total {} devices\n", backup.bytes_used.value(),
                     backup.total_bytes.value(), backup.num_devices.value());
}

Result<void> TextReceiver::finish(const btrfs::Superblock& super, bool with_totals) {
  if (!with_totals) return {};
  if (arguments_.backups)
    for (int slot = 0; slot < btrfs::backup_root_count; ++slot)
      TRY(write_out(backup_text(super.super_roots[slot], slot,
                                (super.incompat_flags & btrfs::incompat::extent_tree_v2) != 0)));
  return write_out(fmt::format("total bytes {}\nbytes used {}\nuuid {}\n", super.total_bytes.value(),
                               super.bytes_used.value(), super.fsid));
}

// {"trees": [{…, "blocks": [block, …]}, …], …}; with --block, {"blocks": [block, …], …}. A block a line.
class JsonReceiver : public Receiver {
 public:
  using Receiver::Receiver;
  Result<void> tree(const btrfs::DumpedTree& tree) override;
  Result<void> block(const btrfs::TreeBlock& block) override;
  Result<void> finish(const btrfs::Superblock& super, bool with_totals) override;

 private:
  bool only_blocks() const { return !arguments_.selection.blocks.empty(); }
  Result<void> open_array(const char* name) { return write_out(fmt::format("{{\n\"{}\": [", name)); }
  uint64_t trees_ = 0, blocks_ = 0;
};

Result<void> JsonReceiver::tree(const btrfs::DumpedTree& tree) {
  TRY(trees_++ == 0 ? open_array("trees") : write_out("\n]},"));
  Json object;
  object["name"] = tree.name;
  object["key"] = nullptr;
  if (tree.key)
    object["key"] = {{"objectid", tree.key->objectid},
                     {"type", static_cast<uint8_t>(tree.key->type)},
                     {"offset", tree.key->offset},
                     {"type_name", btrfs::item_type_name(tree.key->type)},
                     {"text", btrfs::key_text(*tree.key)}};
  object["bytenr"] = tree.bytenr;
  object["level"] = tree.level;
  std::string text = object.dump();
  text.pop_back();
  blocks_ = 0;
  return write_out(fmt::format("\n{}, \"blocks\": [", text));
}

Result<void> JsonReceiver::block(const btrfs::TreeBlock& block) {
  if (only_blocks() && blocks_ == 0) TRY(open_array("blocks"));
  TRY(write_out(blocks_++ == 0 ? "\n" : ",\n"));
  return write_out(btrfs::block_to_json(block, *geometry_, arguments_.print).dump());
}

Result<void> JsonReceiver::finish(const btrfs::Superblock& super, bool) {
  if (only_blocks() && blocks_ == 0) TRY(open_array("blocks"));
  if (!only_blocks() && trees_ == 0) TRY(open_array("trees"));
  if (trees_) TRY(write_out("\n]}"));
  Json object;
  if (arguments_.backups) object["backup_roots"] = btrfs::superblock_to_json(super, true)["backup_roots"];
  object["total_bytes"] = super.total_bytes.value();
  object["bytes_used"] = super.bytes_used.value();
  object["fsid"] = super.fsid.text();
  object["problems"] = problems_;
  return write_out(fmt::format("\n],\n{}\n", object.dump().substr(1)));
}

Result<void> parse(DumpTreeArguments& arguments) {
  btrfs::DumpSelection& selection = arguments.selection;
  if (arguments.tree) {
    selection.tree = btrfs::tree_id_from_text(*arguments.tree);
    if (!selection.tree)
      return Error(err::invalid, fmt::format("'{}' is not the id or name of a tree", *arguments.tree));
  }
  for (const std::string& block : arguments.blocks) {
    char* end = nullptr;
    errno = 0;
    uint64_t bytenr = strtoull(block.c_str(), &end, 0);
    if (errno || *end || block.empty() || !isdigit(static_cast<unsigned char>(block[0])))
      return Error(err::invalid, fmt::format("'{}' is not the address of a block", block));
    selection.blocks.insert(bytenr);
  }
  selection.roots_only |= arguments.backups;
  if (arguments.breadth_first) selection.depth_first = false;
  return {};
}

Result<int> run_dump_tree(const Session& session, DumpTreeArguments& arguments) {
  if (auto parsed = parse(arguments); !parsed) {
    print_problem(parsed.error());
    return exit_usage;
  }
  auto cache = TRY(arguments.image.make_cache());
  const btrfs::ImageOptions options = arguments.image.options();
  auto devices = TRY(open_all_named(options.devices));
  std::unique_ptr<Receiver> receiver;
  if (session.json())
    receiver = std::make_unique<JsonReceiver>(session, arguments);
  else
    receiver = std::make_unique<TextReceiver>(session, arguments);
  auto dump = TRY(btrfs::TreeDump::open(std::move(devices), options.open, *cache, session.log(), *receiver));
  receiver->set_geometry(dump->geometry());
  if (!session.json()) TRY(write_out("karst " KARST_VERSION "\n"));
  bool with_totals = TRY(dump->run(arguments.selection));
  TRY(receiver->finish(dump->super(), with_totals));
  return receiver->problems() ? exit_problems : exit_ok;
}

}  // namespace

void add_btrfs_dump_tree(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("dump-tree", "Print the trees as they are on disk");
  auto arguments = std::make_shared<DumpTreeArguments>();
  arguments->image.declare(verb);
  for (const char* name : {"--subvol", "--subvolid", "--norecovery"})
    verb.remove_option(verb.get_option(name));
  auto& selection = arguments->selection;
  verb.add_option("-t,--tree", arguments->tree,
                  "Only this tree, by id or name (root, extent, chunk, device, fs, csum …)")
      ->type_name("TREE");
  verb.add_flag("-e,--extents", selection.extents, "Only the leaves of the extent and device trees");
  verb.add_flag("-d,--device-trees", selection.devices, "Only the root, chunk and device trees");
  verb.add_flag("-r,--roots", selection.roots_only, "Only where each tree's root is");
  verb.add_flag("-R,--backups", arguments->backups, "As --roots, and the backups of the tree roots");
  verb.add_flag("-u,--uuid", selection.uuids, "Only the UUID tree");
  verb.add_option("-b,--block", arguments->blocks, "Only the block at this logical address (repeatable)")
      ->type_name("BYTENR")
      ->allow_extra_args(false);
  verb.add_flag("--follow", selection.follow, "With --block: and all blocks below it");
  verb.add_flag("--bfs", arguments->breadth_first, "Level by level: nodes, then leaves (the default)");
  verb.add_flag("--dfs", selection.depth_first, "Each node before its children");
  verb.add_flag("--hide-names", arguments->print.hide_names,
                "Hide names of files, subvolumes and attributes");
  verb.add_flag("--csum-headers", arguments->print.csum_headers, "Print the checksums of the blocks");
  verb.add_flag("--csum-items", arguments->print.csum_items, "Print the checksums in checksum items");
  verb.add_flag("--noscan", arguments->noscan, "Taken and without effect: devices are never searched for");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_dump_tree(session, *arguments); });
}

}  // namespace karst::cli
