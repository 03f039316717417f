// karst thin create: a new pool.
#include "cli/open_named.h"
#include "cli/pool_request.h"
#include "cli/thin.h"
#include "thin/home/command.h"

namespace karst::cli {
namespace {

struct CreateArguments {
  std::string pool, size, metadata, data, metadata_size, block_size = "64K", low_water = "0";
  uint64_t no_space_timeout = 60;
  bool skip_block_zeroing = false, ignore_discard = false, no_discard_passdown = false,
       error_if_no_space = false;
  bool force = false;
};

Result<thin::NewPool> new_pool(const CreateArguments& arguments) {
  thin::NewPool wanted;
  TRY(check_no_volume(arguments.metadata, "a pool's metadata"));
  TRY(check_no_volume(arguments.data, "a pool's data"));
  // Opened later from wherever the pool is used.
  if (!arguments.metadata.empty()) wanted.metadata = absolute_name(arguments.metadata);
  if (!arguments.data.empty()) wanted.data = absolute_name(arguments.data);
  const uint64_t block = TRY(block::parse_size(arguments.block_size));
  if (block % thin::sector_size != 0 || !thin::is_data_block_size(block / thin::sector_size))
    return Error(err::invalid, "--block-size is a multiple of 64K, at most 1G")
        .expected("such a size", block);
  wanted.block_sectors = static_cast<uint32_t>(block / thin::sector_size);
  if (!arguments.size.empty()) wanted.data_size = TRY(block::parse_size(arguments.size));
  if (!arguments.metadata_size.empty())
    wanted.metadata_size = TRY(block::parse_size(arguments.metadata_size));
  wanted.low_water_blocks = (TRY(block::parse_size(arguments.low_water)) + block - 1) / block;
  wanted.no_space_timeout_seconds = arguments.no_space_timeout;
  wanted.features.zero_new_blocks = !arguments.skip_block_zeroing;
  wanted.features.handle_discards = !arguments.ignore_discard;
  wanted.features.discard_passdown = !arguments.no_discard_passdown;
  wanted.features.error_if_no_space = arguments.error_if_no_space;
  wanted.replace = arguments.force;
  return wanted;
}

// A device that holds something is not taken by mistake.
Result<void> check_free(const std::string& device) {
  if (device.empty()) return {};
  if (const auto known = TRY(known_content(device)))
    return Error::make(err::exists, "the device holds {}; --force takes it all the same", *known)
        .at("device", device);
  return {};
}

Result<int> run_create(const Session& session, const CreateArguments& arguments) {
  if (arguments.size.empty() && arguments.data.empty())
    return Error(err::invalid, "either --size or --data says how large the pool is");
  const thin::NewPool wanted = TRY(new_pool(arguments));
  // What a pool's data looks like is its volumes' business.
  const bool takes_over = !arguments.metadata.empty() && TRY(thin::holds_pool(arguments.metadata));
  if (!arguments.force && !takes_over) {
    TRY(check_free(arguments.metadata));
    TRY(check_free(arguments.data));
  }
  auto home = TRY(thin::Home::create(arguments.pool, wanted, {.timer = false, .log = session.warnings()}));
  const Json status = TRY(thin::execute(*home, {{"command", "status"}}));
  if (session.json()) {
    fmt::print("{}\n", status.dump(2));
    return exit_ok;
  }
  fmt::print("{}: {} blocks of {} for data, {} blocks of metadata\n", shown_name(arguments.pool),
             status["data_blocks"].get<uint64_t>(), size_text(status["block_size"].get<uint64_t>()),
             status["metadata_blocks"].get<uint64_t>());
  for (const Json& volume : status["volumes"])
    fmt::print("found device {}, now volume {}\n", volume["id"].get<uint32_t>(),
               volume["name"].get<std::string>());
  return exit_ok;
}

}  // namespace

void add_thin_create(CLI::App& thin, Session& session) {
  CLI::App& verb =
      *thin.add_subcommand("create", "Make a thin pool in a file, or on a metadata and a data device");
  auto arguments = std::make_shared<CreateArguments>();
  verb.add_option("POOL", arguments->pool, "The pool's file")->required();
  verb.add_option("-s,--size", arguments->size, "Room for data, such as 100G; the file takes what is used")
      ->type_name("SIZE");
  verb.add_option("--metadata", arguments->metadata,
                  "Keep metadata on this device; a pool in it is taken over")
      ->type_name("DEVICE");
  verb.add_option("--data", arguments->data, "Keep data on this device")->type_name("DEVICE");
  verb.add_option("--metadata-size", arguments->metadata_size,
                  "Room for metadata (default: what suits the size)")
      ->type_name("SIZE");
  verb.add_option("-b,--block-size", arguments->block_size,
                  "Data block: a multiple of 64K up to 1G (default 64K)")
      ->type_name("SIZE");
  verb.add_option("--low-water", arguments->low_water, "Free space at which an event is sent (default 0)")
      ->type_name("SIZE");
  verb.add_option("--no-space-timeout", arguments->no_space_timeout,
                  "Seconds that writes wait for space before they fail; 0: for ever (default 60)")
      ->type_name("SECONDS");
  verb.add_flag("--skip-block-zeroing", arguments->skip_block_zeroing,
                "Do not zero new blocks: what they held before shows");
  verb.add_flag("--ignore-discard", arguments->ignore_discard, "Refuse discards");
  verb.add_flag("--no-discard-passdown", arguments->no_discard_passdown,
                "Free what is discarded, in the pool only");
  verb.add_flag("--error-if-no-space", arguments->error_if_no_space,
                "Fail writes at once when there is no space");
  verb.add_flag("--force", arguments->force,
                "Replace the file if it is there; take devices that hold something");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_create(session, *arguments); });
}

}  // namespace karst::cli
