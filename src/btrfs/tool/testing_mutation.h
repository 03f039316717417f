// Spoiling images on purpose, and using everything that reads on the result.
#pragma once
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "block/open.h"
#include "block/overlay_device.h"
#include "btrfs/tool/dump_tree.h"
#include "btrfs/tool/testing_image.h"
#include "btrfs/tool/testing_patch.h"
#include "btrfs/tool/walk.h"
#include "core/worker_pool.h"

namespace karst::btrfs::testing {

using Devices = std::vector<std::unique_ptr<block::Device>>;

// Collects the blocks of all trees.
class BlockCollector final : public DumpReceiver {
 public:
  struct Found {
    uint64_t bytenr;
    uint64_t owner;
    uint8_t level;
    uint32_t used;  // bytes from the start of the block up to the end of its item heads
  };
  Result<void> tree(const DumpedTree&) override { return {}; }
  Result<void> block(const TreeBlock& block) override {
    uint32_t head = block.level() > 0 ? sizeof(KeyPtr) : sizeof(Item);
    found.push_back({block.bytenr(), block.header().owner, block.level(),
                     static_cast<uint32_t>(sizeof(Header) + block.nritems() * head)});
    return {};
  }
  void problem(const Error&) override { ++problems; }
  std::vector<Found> found;
  size_t problems = 0;
};

// An image as it was made, to lay changes over.
class PristineImage {
 public:
  explicit PristineImage(const std::string& name);

  const std::string& name() const { return files_.name(); }
  ImageOptions options() const { return files_.options(); }
  const Geometry& geometry() const { return geometry_; }
  const std::vector<BlockCollector::Found>& blocks() const { return blocks_.found; }

  // Devices to be changed, over those of the image.
  Devices overlays() const;
  block::Device& device_of(Devices& devices, uint64_t devid) const;

  // Changes a tree block in all its copies and makes its checksum right.
  void change_block(Devices& devices, uint64_t bytenr, FunctionRef<void(MutableBytes)> change) const;
  // Writes all its copies, as they are given.
  void write_block(Devices& devices, uint64_t bytenr, Bytes block) const;
  // Where its first copy is.
  Place place_of(uint64_t bytenr) const { return places_of(chunks_, bytenr).front(); }
  void spoil_last_copy(Devices& devices, uint64_t bytenr) const;
  // Changes the leaf item of that key, if there is one. False if not.
  bool change_item(Devices& devices, uint64_t tree, const Key& key,
                   FunctionRef<void(MutableBytes item, Item& head)> change) const;

 private:
  std::vector<std::byte> read_block(Devices& devices, uint64_t bytenr,
                                    FunctionRef<void(MutableBytes)> change) const;

  UnpackedImage files_;
  Devices base_;
  ChunkMap chunks_;
  Geometry geometry_;
  BlockCollector blocks_;
};

// Formats messages as a terminal would get them, and drops them.
class FormattingSink final : public LogSink {
 public:
  void write(const LogRecord& record) override {
    if (record.text().empty()) std::abort();
  }
};

// What came of using a spoiled image.
struct Outcome {
  bool opened = false;
  uint64_t entries = 0, errors = 0;
  uint64_t archive_bytes = 0, dumped = 0;  // bytes of the archive, and of dumps as text
};

struct Exercise {
  uint64_t read_limit = 16 << 20;     // bytes of contents for each use
  uint64_t archive_limit = 64 << 20;  // then the sink is full
};

// Uses everything that reads. Errors are counted; that it returns is what is tested.
class Exerciser {
 public:
  explicit Exerciser(Exercise limits = {})
      : limits_(limits), pool_(*WorkerPool::create({.name = "exercise", .threads = 2})) {}

  Outcome run(const PristineImage& pristine, FunctionRef<void(Devices&)> spoil);

  // `devices` is called for each opening, and gives the same each time.
  Outcome run_on(FunctionRef<Devices()> devices, const ImageOptions& options);

  const cache::Cache& cache() const { return cache_; }

 private:
  template <typename T>
  bool count(const Result<T>& result, Outcome& outcome);
  void dump(Devices devices, const ImageOptions& options, Outcome& outcome);
  void walk(const Image& image, Outcome& outcome);
  void visit(const Image& image, DataReader& reader, const WalkEntry& entry, uint64_t& bytes_left,
             Outcome& outcome);
  void pack(const Image& image, Outcome& outcome);

  const Exercise limits_;
  FormattingSink log_;
  std::unique_ptr<WorkerPool> pool_;
  cache::Cache cache_{{.limit = 16 << 20}};
  std::vector<std::byte> buffer_;
};

// Random changes, reproducible from a seed.
class Mutator {
 public:
  Mutator(const PristineImage& image, uint64_t seed) : image_(image), random_(seed) {}

  void operator()(Devices& devices);

 private:
  void mutate(Devices& devices, std::mt19937_64& random) const;

  // A bit, some bytes, or a number that is on the edge of something.
  void change_bytes(MutableBytes bytes, uint64_t from, uint64_t to, std::mt19937_64& random) const;

  const PristineImage& image_;
  const std::mt19937_64 random_;
};

}  // namespace karst::btrfs::testing
