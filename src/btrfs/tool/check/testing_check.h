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

using ItemChange = FunctionRef<bool(const Key& key, MutableBytes data, Item& head)>;

// Calls `change` for a leaf's items of that type until it says that it has changed one.
inline bool change_in(const PristineImage& image, Devices& devices, uint64_t leaf, ItemType type,
                      ItemChange change) {
  bool done = false;
  image.change_block(devices, leaf, [&](MutableBytes bytes) {
    auto& header = *reinterpret_cast<Header*>(bytes.data());
    for (uint32_t slot = 0; slot < header.nritems && !done; ++slot) {
      auto& head = *reinterpret_cast<Item*>(bytes.data() + sizeof(Header) + slot * sizeof(Item));
      if (head.key.type != static_cast<uint8_t>(type)) continue;
      done = change(head.key.key(), bytes.subspan(sizeof(Header) + head.offset, head.size), head);
    }
  });
  return done;
}

// The same for all of a tree's leaves.
inline bool change_first(const PristineImage& image, Devices& devices, uint64_t tree, ItemType type,
                         ItemChange change) {
  for (const auto& block : image.blocks()) {
    if (block.owner != tree || block.level != 0) continue;
    if (change_in(image, devices, block.bytenr, type, change)) return true;
  }
  return false;
}

}  // namespace karst::btrfs::testing
