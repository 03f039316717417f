// karst btrfs dump-super: a superblock, whatever state it is in.
#include "btrfs/format/print.h"
#include "cli/open_named.h"
#include "cli/output.h"
#include "cli/session.h"

namespace karst::cli {
namespace {

struct DumpSuperArguments {
  std::vector<std::string> devices;
  int mirror = 0;
  std::optional<uint64_t> bytenr;
  bool full = false, all = false, force = false;
};

class SuperDump {
 public:
  SuperDump(const DumpSuperArguments& arguments, bool as_json) : arguments_(arguments) {
    if (as_json) array_.emplace();
  }
  // A device too small for a copy that lies beyond its end just has none.
  Result<void> dump(block::Device& device, uint64_t offset);

 private:
  void print(const block::Device& device, uint64_t offset, const btrfs::Superblock& super);
  const DumpSuperArguments& arguments_;
  std::optional<JsonArray> array_;
};

Result<void> SuperDump::dump(block::Device& device, uint64_t offset) {
  if (offset >= device.size()) return {};
  btrfs::Superblock super;
  TRY(device.read(offset, {reinterpret_cast<std::byte*>(&super), sizeof super}));
  bool is_btrfs = super.magic == btrfs::superblock_magic;
  if (!array_)
    fmt::print("superblock: bytenr={}, device={}\n{:-<57}\n", offset, shown_name(device.name()), "");
  if (!is_btrfs && !arguments_.force)
    return Error(btrfs::err::super_magic, "bad magic on superblock (use --force to dump it anyway)")
        .at("device", device.name())
        .at("offset", offset);
  print(device, offset, super);
  return {};
}

void SuperDump::print(const block::Device& device, uint64_t offset, const btrfs::Superblock& super) {
  if (!array_) {
    btrfs::print_superblock(super, arguments_.full,
                            [](std::string_view text) { fwrite(text.data(), 1, text.size(), stdout); });
    fputc('\n', stdout);
    return;
  }
  Json object;
  set_name(object, "device", device.name());
  object["offset"] = offset;
  object.update(btrfs::superblock_to_json(super, arguments_.full));
  array_->add(object);
}

Result<int> run_dump_super(const Session& session, const DumpSuperArguments& arguments) {
  SuperDump dump(arguments, session.json());
  std::vector<uint64_t> offsets;
  for (int mirror = 0; mirror < btrfs::superblock_mirrors; ++mirror)
    if (arguments.all || (!arguments.bytenr && mirror == arguments.mirror))
      offsets.push_back(btrfs::superblock_mirror_offset(mirror));
  if (arguments.bytenr) offsets.assign(1, *arguments.bytenr);
  int status = exit_ok;
  for (const std::string& name : arguments.devices) {
    auto device = TRY(open_named(name, block::OpenMode::read_only));
    for (uint64_t offset : offsets) {
      auto dumped = dump.dump(*device, offset);
      if (dumped) continue;
      print_problem(dumped.error());
      status = exit_problems;
    }
  }
  return status;
}

}  // namespace

void add_btrfs_dump_super(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("dump-super", "Print a superblock");
  auto arguments = std::make_shared<DumpSuperArguments>();
  verb.add_option("IMAGE", arguments->devices, "Image files or block devices")->required();
  verb.add_flag("-f,--full", arguments->full, "With the system chunks and the backups of the tree roots");
  auto* all = verb.add_flag("-a,--all", arguments->all, "All copies that the device has room for");
  auto* mirror = verb.add_option("-i,-s,--super", arguments->mirror, "Which copy (0, 1, 2)")
                     ->type_name("N")
                     ->check(CLI::Range(0, 2));
  verb.add_option("--bytenr", arguments->bytenr, "What is at this offset of the device")
      ->type_name("OFFSET")
      ->excludes(all)
      ->excludes(mirror);
  all->excludes(mirror);
  verb.add_flag("-F,--force", arguments->force, "Also what has no btrfs magic");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_dump_super(session, *arguments); });
}

}  // namespace karst::cli
