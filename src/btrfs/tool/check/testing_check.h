// Running a check on an image for tests, and keeping what it says.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "btrfs/tool/check.h"
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {

class KeptFindings final : public check::CheckReceiver {
 public:
  struct Kept {
    std::string id, text;
    bool warning;
  };
  void phase(const std::string& title) override { phases.push_back(title); }
  void finding(const check::Finding& finding) override {
    kept.push_back({finding.kind.id, finding.text, finding.kind.severity == check::Severity::warning});
  }
  bool has(std::string_view id, std::string_view words) const {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const Kept& k) { return k.id == id && k.text.find(words) != k.text.npos; });
  }
  std::string text() const {
    std::string all;
    for (const Kept& k : kept) all += fmt::format("  [{}] {}\n", k.id, k.text);
    return all;
  }
  std::vector<std::string> phases;
  std::vector<Kept> kept;
};

using Devices = std::vector<std::unique_ptr<block::Device>>;

// The findings of one check, or the error with which the file system could not be opened.
struct Checked {
  KeptFindings findings;
  std::optional<CheckResult> result;
  std::string error;
};

inline std::unique_ptr<Checked> check_devices(Devices devices, const CheckOptions& options = {},
                                              unsigned threads = 2) {
  auto checked = std::make_unique<Checked>();
  cache::Cache cache({.limit = 16 << 20});
  auto pool = *WorkerPool::create({.name = "check", .threads = threads});
  auto fs = Filesystem::open(std::move(devices), {}, cache, Logger());
  if (!fs) {
    checked->error = fs.error().message();
    return checked;
  }
  auto result = check_filesystem(**fs, options, *pool, {}, checked->findings);
  if (result)
    checked->result = std::move(*result);
  else
    checked->error = result.error().message();
  return checked;
}

// Calls `change` for the items of that type in a tree's leaves until it says that it has changed one.
inline bool change_first(const PristineImage& image, Devices& devices, uint64_t tree, ItemType type,
                         FunctionRef<bool(const Key& key, MutableBytes data, Item& head)> change) {
  for (const auto& candidate : image.blocks()) {
    if (candidate.owner != tree || candidate.level != 0) continue;
    bool done = false;
    image.change_block(devices, candidate.bytenr, [&](MutableBytes bytes) {
      auto& header = *reinterpret_cast<Header*>(bytes.data());
      for (uint32_t slot = 0; slot < header.nritems && !done; ++slot) {
        auto& head = *reinterpret_cast<Item*>(bytes.data() + sizeof(Header) + slot * sizeof(Item));
        if (head.key.type != static_cast<uint8_t>(type)) continue;
        done = change(head.key.key(), bytes.subspan(sizeof(Header) + head.offset, head.size), head);
      }
    });
    if (done) return true;
  }
  return false;
}

}  // namespace karst::btrfs::testing
