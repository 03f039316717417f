#include "cli/loss_report.h"

#include "btrfs/format/key.h"
#include "core/printable.h"

namespace karst::cli {
namespace {

std::string range_text(const btrfs::CopyLoss& loss) {
  if (loss.length == 0) return "";
  return fmt::format(" bytes {} to {}", loss.offset, loss.offset + loss.length - 1);
}

std::string heading(btrfs::CopyLoss::Kind kind) {
  switch (kind) {
    case btrfs::CopyLoss::Kind::unverified: return "unverified: range";
    case btrfs::CopyLoss::Kind::older: return "doubtful:";
    default: return fmt::format("lost: {}", loss_name(kind));
  }
}

Json key_json(const btrfs::Key& key) {
  return {{"objectid", key.objectid}, {"type", static_cast<uint8_t>(key.type)}, {"offset", key.offset}};
}

}  // namespace

void LossReport::put(const std::string& text) {
  for (const Writer& write : writers_)
    if (outcome_) outcome_ = write(text);
}

void LossReport::put_element(const char* array, const Json& element) {
  if (array_ && std::string_view(array_) == array) {
    put(",\n");
  } else {
    put(fmt::format("{}\"{}\": [\n", array_ ? "],\n" : "{", array));
    array_ = array;
  }
  put(element.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void LossReport::add(const btrfs::CopyLoss& loss) {
  ++count_;
  const bool unverified = loss.kind == btrfs::CopyLoss::Kind::unverified;
  unverified_ += unverified;
  unchecked_ += !unverified && loss.error.is(err::checksum);
  if (text_)
    fmt::print(stderr, "karst: {} {}{}: {}\n", heading(loss.kind),
               printable(loss.path.empty() ? "." : loss.path), range_text(loss),
               printable(loss.error.message()));
  if (writers_.empty()) return;
  Json object{{"kind", loss_name(loss.kind)}};
  set_name(object, "path", loss.path);
  if (loss.length > 0) {
    object["offset"] = loss.offset;
    object["length"] = loss.length;
  }
  object["reason"] = loss.error.kind().name;
  object["message"] = loss.error.message();
  put_element("lost", object);
}

void LossReport::add(const btrfs::LostBlock& block) {
  if (text_)
    fmt::print(stderr, "karst: {}: block {} level {} of tree {}, items {} to {}: {}\n",
               block.rebuilt ? "rebuilt" : "lost", block.bytenr, block.level, btrfs::root_name(block.tree),
               btrfs::key_text(block.first), btrfs::key_text(block.last), printable(block.reason));
  if (writers_.empty()) return;
  const Json object{
      {"tree", block.tree},       {"bytenr", block.bytenr},         {"level", block.level},
      {"rebuilt", block.rebuilt}, {"first", key_json(block.first)}, {"last", key_json(block.last)},
      {"message", block.reason}};
  put_element("lost_blocks", object);
}

Result<void> LossReport::finish(const Json& members) {
  std::string rest = members.dump();
  rest.front() = array_ ? ',' : '{';
  put(fmt::format("{}{}\n", array_ ? "]\n" : "", rest));
  return std::move(outcome_);
}

}  // namespace karst::cli
