#include "thin/tool/dump_writers.h"

namespace karst::thin {
namespace {

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  return result;
}

class XmlWriter final : public PoolSink {
 public:
  explicit XmlWriter(TextOut& out) : out_(out) {}

  Result<void> begin_pool(const PoolFacts& facts) override {
    TRY(
        out_.print("<superblock uuid=\"{}\" time=\"{}\" transaction=\"{}\" flags=\"{}\" version=\"{}\" "
                   "data_block_size=\"{}\" nr_data_blocks=\"{}\"",
                   escaped(facts.uuid), facts.time, facts.transaction, facts.flags, facts.version,
                   facts.data_block_size, facts.nr_data_blocks));
    if (facts.metadata_snap) TRY(out_.print(" metadata_snap=\"{}\"", *facts.metadata_snap));
    return out_.print(">\n");
  }
  Result<void> end_pool() override {
    TRY(out_.print("</superblock>\n"));
    return out_.flush();
  }
  Result<void> begin_def(std::string_view name) override {
    return out_.print("  <def name=\"{}\">\n", escaped(name));
  }
  Result<void> end_def() override { return out_.print("  </def>\n"); }
  Result<void> begin_device(const DeviceFacts& facts) override {
    return out_.print(
        "  <device dev_id=\"{}\" mapped_blocks=\"{}\" transaction=\"{}\" creation_time=\"{}\" "
        "snap_time=\"{}\">\n",
        facts.id, facts.mapped_blocks, facts.transaction, facts.creation_time, facts.snap_time);
  }
  Result<void> end_device() override { return out_.print("  </device>\n"); }
  Result<void> map(const MappingRun& run) override {
    if (run.length == 1)
      return out_.print("    <single_mapping origin_block=\"{}\" data_block=\"{}\" time=\"{}\"/>\n",
                        run.begin, run.data, run.time);
    return out_.print(
        "    <range_mapping origin_begin=\"{}\" data_begin=\"{}\" length=\"{}\" time=\"{}\"/>\n", run.begin,
        run.data, run.length, run.time);
  }
  Result<void> ref(std::string_view name) override {
    return out_.print("    <ref name=\"{}\"/>\n", escaped(name));
  }

 private:
  TextOut& out_;
};

class HumanReadableWriter final : public PoolSink {
 public:
  explicit HumanReadableWriter(TextOut& out) : out_(out) {}

  Result<void> begin_pool(const PoolFacts& facts) override {
    TRY(out_.print("begin superblock: \"{}\", {}, {}, {}, {}, {}, {}", facts.uuid, facts.time,
                   facts.transaction, facts.flags, facts.version, facts.data_block_size,
                   facts.nr_data_blocks));
    if (facts.metadata_snap) TRY(out_.print(", {}", *facts.metadata_snap));
    return out_.print("\n");
  }
  Result<void> end_pool() override {
    TRY(out_.print("end superblock\n"));
    return out_.flush();
  }
  Result<void> begin_def(std::string_view name) override { return out_.print("def: {}\n", name); }
  Result<void> end_def() override { return out_.print("\n"); }
  Result<void> begin_device(const DeviceFacts& facts) override {
    return out_.print("device: {}\nmapped_blocks: {}\ntransaction: {}\ncreation time: {}\nsnap time: {}\n",
                      facts.id, facts.mapped_blocks, facts.transaction, facts.creation_time, facts.snap_time);
  }
  Result<void> end_device() override { return out_.print("\n"); }
  Result<void> map(const MappingRun& run) override {
    const uint64_t begin = raw(run.begin), data = raw(run.data);
    if (run.length == 1) return out_.print("    {} -> {}, {}\n", begin, data, run.time);
    return out_.print("    ({}..{}) -> ({}..{}), {}\n", begin, begin + run.length - 1, data,
                      data + run.length - 1, run.time);
  }
  Result<void> ref(std::string_view name) override { return out_.print("    ref: {}\n", name); }

 private:
  TextOut& out_;
};

// A device a line, a mapping a line: readable while it is long.
class JsonWriter final : public PoolSink {
 public:
  explicit JsonWriter(TextOut& out) : out_(out) {}

  Result<void> begin_pool(const PoolFacts& facts) override {
    TRY(out_.print(
        "{{\"time\": {}, \"transaction\": {}, \"flags\": {}, \"version\": {}, \"data_block_size\": {}, "
        "\"nr_data_blocks\": {}, \"metadata_snap\": ",
        facts.time, facts.transaction, facts.flags, facts.version, facts.data_block_size,
        facts.nr_data_blocks));
    if (facts.metadata_snap)
      TRY(out_.print("{}", *facts.metadata_snap));
    else
      TRY(out_.print("null"));
    return out_.print(", \"devices\": [");
  }
  Result<void> end_pool() override {
    TRY(out_.print("\n]}}\n"));
    return out_.flush();
  }
  Result<void> begin_def(std::string_view) override { return unshared(); }
  Result<void> end_def() override { return {}; }
  Result<void> begin_device(const DeviceFacts& facts) override {
    first_mapping_ = true;
    TRY(
        out_.print("{}\n{{\"dev_id\": {}, \"mapped_blocks\": {}, \"transaction\": {}, \"creation_time\": {}, "
                   "\"snap_time\": {}, \"mappings\": [",
                   first_device_ ? "" : ",", facts.id, facts.mapped_blocks, facts.transaction,
                   facts.creation_time, facts.snap_time));
    first_device_ = false;
    return {};
  }
  Result<void> end_device() override { return out_.print("]}}"); }
  Result<void> map(const MappingRun& run) override {
    TRY(out_.print("{}\n  {{\"origin_begin\": {}, \"data_begin\": {}, \"length\": {}, \"time\": {}}}",
                   first_mapping_ ? "" : ",", run.begin, run.data, run.length, run.time));
    first_mapping_ = false;
    return {};
  }
  Result<void> ref(std::string_view) override { return unshared(); }

 private:
  static Error unshared() { return Error(err::unsupported, "JSON has each device's mappings by itself"); }
  TextOut& out_;
  bool first_device_ = true, first_mapping_ = true;
};

}  // namespace

std::unique_ptr<PoolSink> make_dump_writer(DumpFormat format, TextOut& out) {
  switch (format) {
    case DumpFormat::xml: return std::make_unique<XmlWriter>(out);
    case DumpFormat::human_readable: return std::make_unique<HumanReadableWriter>(out);
    case DumpFormat::json: return std::make_unique<JsonWriter>(out);
  }
  return nullptr;
}

}  // namespace karst::thin
