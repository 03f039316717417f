#include "cli/loss_report.h"

#include "btrfs/format/key.h"

namespace karst::cli {
namespace {

std::string range_text(const btrfs::CopyLoss& loss) {
  if (loss.length == 0) return "";
  return fmt::format(" bytes {} to {}", loss.offset, loss.offset + loss.length - 1);
}

Json key_json(const btrfs::Key& key) {
  return {{"objectid", key.objectid}, {"type", static_cast<uint8_t>(key.type)}, {"offset", key.offset}};
}

}  // namespace

void LossReport::begin_element(const char* array) {
  if (array_ && std::string_view(array_) == array) {
    fputs(",\n", file_);
    return;
  }
  if (array_) fputs("],\n", file_);
  fmt::print(file_, "{}\"{}\": [\n", array_ ? "" : "{", array);
  array_ = array;
}

void LossReport::add(const btrfs::CopyLoss& loss) {
  ++count_;
  const bool unverified = loss.kind == btrfs::CopyLoss::Kind::unverified;
  unverified_ += unverified;
  if (text_)
    fmt::print(stderr, "{}: {} {}{}: {}\n", unverified ? "unverified" : "lost", loss_name(loss.kind),
               shown_name(loss.path.empty() ? "." : loss.path), range_text(loss), loss.error.message());
  if (!file_) return;
  begin_element("lost");
  Json object{{"kind", loss_name(loss.kind)}};
  set_name(object, "path", loss.path);
  if (loss.length > 0) {
    object["offset"] = loss.offset;
    object["length"] = loss.length;
  }
  object["reason"] = loss.error.kind().name;
  object["message"] = loss.error.message();
  fputs(object.dump(-1, ' ', false, Json::error_handler_t::replace).c_str(), file_);
}

void LossReport::add(const btrfs::LostBlock& block) {
  if (text_)
    fmt::print(stderr, "lost: block {} level {} of tree {}, items {} to {}: {}\n", block.bytenr, block.level,
               btrfs::root_name(block.tree), btrfs::key_text(block.first), btrfs::key_text(block.last),
               block.reason);
  if (!file_) return;
  begin_element("lost_blocks");
  const Json object{{"tree", block.tree},           {"bytenr", block.bytenr},
                    {"level", block.level},         {"first", key_json(block.first)},
                    {"last", key_json(block.last)}, {"message", block.reason}};
  fputs(object.dump(-1, ' ', false, Json::error_handler_t::replace).c_str(), file_);
}

Result<void> LossReport::finish(const Json& members) {
  if (!file_) return {};
  std::string rest = members.dump();
  rest.front() = array_ ? ',' : '{';
  fmt::print(file_, "{}{}\n", array_ ? "]\n" : "", rest);
  if (fflush(file_) != 0 || ferror(file_)) return Error::from_errno(errno, "writing the report");
  return {};
}

}  // namespace karst::cli
