// Replays of logs against the kernel's own: pairs of images made by testing/log_workload.py, in the directory
// that KARST_LOG_PAIRS names. Without it there is nothing to do here.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "btrfs/txn/testing/compare_replay.h"

namespace karst::btrfs {
namespace {

struct Pair {
  std::string name;  // without the endings
  nlohmann::json facts;
};

std::vector<Pair> pairs_in(const std::string& directory) {
  std::vector<Pair> pairs;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream file(entry.path());
    pairs.push_back(
        {(entry.path().parent_path() / entry.path().stem()).string(), nlohmann::json::parse(file)});
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.name < b.name; });
  return pairs;
}

bool kernel_mounted(const Pair& pair) { return pair.facts["kernel"] == "mounted"; }

enum class Replaying : bool { no, yes };

std::vector<std::string> differences(const Pair& pair, Replaying replaying, cache::Cache& cache) {
  ImageOptions ours, kernels;
  ours.devices = {pair.name + ".crash.img"};
  ours.replay_log = replaying == Replaying::yes;
  kernels.devices = {pair.name + ".kernel.img"};
  auto a = Image::open(ours, cache, Logger()), b = Image::open(kernels, cache, Logger());
  if (!a) return {a.error().message()};
  if (!b) return {"the kernel's: " + b.error().message()};
  auto found = testing::compare_replay(**a, **b, {pair.facts["mounted_at"].get<int64_t>()});
  return found ? *found : std::vector{found.error().message()};
}

TEST(KernelReplay, LeavesWhatOursShows_BT005_BT006) {
  const char* directory = std::getenv("KARST_LOG_PAIRS");
  if (!directory) GTEST_SKIP() << "KARST_LOG_PAIRS is not set";
  cache::Cache cache;
  int logs = 0, effective = 0, refused = 0;
  for (const Pair& pair : pairs_in(directory)) {
    if (!kernel_mounted(pair)) {
      ++refused;
      continue;
    }
    logs += pair.facts["log"].get<bool>();
    effective += !differences(pair, Replaying::no, cache).empty();
    for (const std::string& difference : differences(pair, Replaying::yes, cache))
      ADD_FAILURE() << pair.name << ": " << difference;
  }
  std::printf("%d logs, %d of them change something; the kernel refused %d\n", logs, effective, refused);
  EXPECT_GT(effective, 0) << "comparing without a replay shows no difference either";
}

}  // namespace
}  // namespace karst::btrfs
