#include "thin/tool/delta.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "thin/tool/mapping_runs.h"

namespace karst::thin {
namespace {

// A device's mappings in runs, leaf by leaf.
class RunStream {
 public:
  RunStream(MetadataReader& metadata, const MetadataReader::Device& device)
      : metadata_(metadata), device_(device) {}

  // What is next, or nullptr at the end.
  Result<const MappingRun*> peek() {
    while (ready_.empty() && !at_end_) TRY(read_leaf());
    return ready_.empty() ? nullptr : &ready_.front();
  }
  void take(uint64_t length) {
    MappingRun& run = ready_.front();
    run = {VirtualBlock{raw(run.begin) + length}, DataBlock{raw(run.data) + length}, run.length - length,
           run.time};
    if (run.length == 0) ready_.pop_front();
  }

 private:
  Result<void> read_leaf() {
    std::optional<uint64_t> last;
    TRY(TreeWalk(metadata_.store(), sizeof(le64))
            .walk(device_.root, {next_key_, ~uint64_t{0}},
                  [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
                    TRY(runs_.add(leaf, begin, end));
                    last = leaf.key(end - 1);
                    return false;
                  })
            .context([&] { return fmt::format("reading the mappings of device {}", device_.facts.id); }));
    at_end_ = !last || *last == ~uint64_t{0};
    if (at_end_) return runs_.finish();
    next_key_ = *last + 1;
    return {};
  }

  MetadataReader& metadata_;
  const MetadataReader::Device& device_;
  std::deque<MappingRun> ready_;
  struct Keep {
    std::deque<MappingRun>& ready;
    Result<void> operator()(const MappingRun& run) {
      ready.push_back(run);
      return {};
    }
  } keep_{ready_};
  MappingRuns runs_{keep_, MappingRuns::Times::ignored};
  uint64_t next_key_ = 0;
  bool at_end_ = false;
};

// The largest step that is of one kind.
DeltaRun next_step(const MappingRun* left, const MappingRun* right) {
  if (right == nullptr || (left != nullptr && left->begin < right->begin)) {
    uint64_t length = left->length;
    if (right != nullptr) length = std::min(length, raw(right->begin) - raw(left->begin));
    return {DeltaKind::left_only, left->begin, length, left->data, {}};
  }
  if (left == nullptr || right->begin < left->begin) {
    uint64_t length = right->length;
    if (left != nullptr) length = std::min(length, raw(left->begin) - raw(right->begin));
    return {DeltaKind::right_only, right->begin, length, {}, right->data};
  }
  return {left->data == right->data ? DeltaKind::same : DeltaKind::different, left->begin,
          std::min(left->length, right->length), left->data, right->data};
}

class DeltaWriter {
 public:
  DeltaWriter(TextOut& out, bool verbose) : out_(out), verbose_(verbose) {}

  Result<void> add(const DeltaRun& run) { return verbose_ ? add_verbose(run) : add_joined(run); }
  Result<void> finish() {
    if (!current_) return {};
    return verbose_ ? out_.print("    </{}>\n", name_of(current_->kind)) : print_joined();
  }

 private:
  Result<void> add_joined(const DeltaRun& run) {
    if (current_) {
      if (current_->kind == run.kind && raw(current_->begin) + current_->length == raw(run.begin)) {
        current_->length += run.length;
        return {};
      }
      TRY(print_joined());
    }
    current_ = run;
    return {};
  }
  Result<void> print_joined() {
    return out_.print("    <{} begin=\"{}\" length=\"{}\"/>\n", name_of(current_->kind), current_->begin,
                      current_->length);
  }
  Result<void> add_verbose(const DeltaRun& run) {
    if (!current_ || current_->kind != run.kind) {
      TRY(finish());
      TRY(out_.print("    <{}>\n", name_of(run.kind)));
    }
    current_ = run;
    if (run.kind == DeltaKind::different)
      return out_.print(
          "      <range begin=\"{}\" left_data_begin=\"{}\" right_data_begin=\"{}\" length=\"{}\"/>\n",
          run.begin, run.left, run.right, run.length);
    return out_.print("      <range begin=\"{}\" data_begin=\"{}\" length=\"{}\"/>\n", run.begin,
                      run.kind == DeltaKind::right_only ? run.right : run.left, run.length);
  }

  TextOut& out_;
  const bool verbose_;
  std::optional<DeltaRun> current_;
};

}  // namespace

const char* name_of(DeltaKind kind) {
  switch (kind) {
    case DeltaKind::left_only: return "left_only";
    case DeltaKind::right_only: return "right_only";
    case DeltaKind::different: return "different";
    case DeltaKind::same: return "same";
  }
  return "";
}

Result<void> compare_devices(MetadataReader& metadata, const MetadataReader::Device& left,
                             const MetadataReader::Device& right, EachDelta each) {
  RunStream lefts(metadata, left), rights(metadata, right);
  for (;;) {
    const MappingRun *const on_left = TRY(lefts.peek()), *const on_right = TRY(rights.peek());
    if (on_left == nullptr && on_right == nullptr) return {};
    const DeltaRun step = next_step(on_left, on_right);
    if (step.kind != DeltaKind::right_only) lefts.take(step.length);
    if (step.kind != DeltaKind::left_only) rights.take(step.length);
    TRY(each(step));
  }
}

Result<void> write_delta_xml(MetadataReader& metadata, DeviceId left, DeviceId right, bool verbose,
                             TextOut& out) {
  const auto left_device = TRY(metadata.device(left)), right_device = TRY(metadata.device(right));
  const PoolFacts facts = metadata.facts();
  TRY(out.print(
      "<superblock uuid=\"\" time=\"{}\" transaction=\"{}\" data_block_size=\"{}\" nr_data_blocks=\"{}\">\n",
      facts.time, facts.transaction, facts.data_block_size, facts.nr_data_blocks));
  TRY(out.print("  <diff left=\"{}\" right=\"{}\">\n", left, right));
  DeltaWriter writer(out, verbose);
  TRY(compare_devices(metadata, left_device, right_device,
                      [&](const DeltaRun& run) { return writer.add(run); }));
  TRY(writer.finish());
  TRY(out.print("  </diff>\n</superblock>\n"));
  return out.flush();
}

}  // namespace karst::thin
