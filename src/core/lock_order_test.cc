#include "core/lock_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/mutex.h"

#ifdef KARST_DEBUG

// ThreadSanitizer has a detector of its own for what is done wrong on purpose here.
extern "C" const char* __tsan_default_options() { return "detect_deadlocks=0"; }

namespace karst {
namespace {

using lock_order::Report;
using lock_order::ReportKind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr LockClass class_a{"test.a"}, class_b{"test.b"}, class_c{"test.c"};
constexpr LockClass spin_class{"test.spin", {.no_block = true}},
    inner_spin_class{"test.inner-spin", {.no_block = true}};
constexpr LockClass tree_class{"test.tree",
                               {.nesting = LockNesting::levels_descend, .rule = "parent before child"}};
constexpr LockClass pair_class{"test.pair",
                               {.nesting = LockNesting::addresses_ascend, .rule = "lower address first"}};

// Thrown out of a report, so that a test does not go on to wait for ever.
struct Stop {};

class LockOrder : public testing::Test {
 protected:
  LockOrder() {
    lock_order::forget_edges();
    lock_order::set_handler([this](const Report& report) {
      reports.push_back(report);
      if (stop) throw Stop();
    });
  }
  ~LockOrder() override {
    lock_order::set_handler({});
    lock_order::forget_edges();
  }
  // Runs it in a thread of its own, to its end.
  template <typename F>
  void in_thread(const char* name, F&& function) {
    std::jthread([&] {
      pthread_setname_np(pthread_self(), name);
      function();
    });
  }
  void lock_in_order(auto& outer, auto& inner) NO_THREAD_SAFETY_ANALYSIS {
    outer.lock();
    inner.lock();
    inner.unlock();
    outer.unlock();
  }
  ReportKind only_report() const {
    EXPECT_EQ(reports.size(), 1u);
    return reports.empty() ? ReportKind::full : reports[0].kind;
  }

  std::vector<Report> reports;
  bool stop = false;
};

constexpr LockClass delayed_node_class{"delayed_node->mutex"}, fs_tree_class{"btrfs-tree"},
    log_tree_class{"btrfs-log"};

// The names of seed 000's stacks, so that the report can be compared with its.
struct SeedLocks {
  Mutex delayed_node{delayed_node_class};
  SharedMutex fs_tree{fs_tree_class}, log_tree{log_tree_class};

  __attribute__((noinline)) void insert_delayed_items() {
    MutexLock node(delayed_node);
    ExclusiveLock leaf(fs_tree);
  }
  __attribute__((noinline)) void log_csums() {
    SharedLock leaf(fs_tree);
    SharedLock log(log_tree);
  }
  __attribute__((noinline)) void release_delayed_node() { MutexLock node(delayed_node); }
  __attribute__((noinline)) void update_log_root() {
    ExclusiveLock log(log_tree);
    release_delayed_node();  // by way of allocation and eviction
  }
};

// CO-001: three threads, one after the other, each with an order that is right by itself.
TEST_F(LockOrder, ReportsTheSeedsThreeLockCycleThoughNothingDeadlocked) {
  SeedLocks locks;
  in_thread("reclaim", [&] { locks.insert_delayed_items(); });
  in_thread("log", [&] { locks.log_csums(); });
  EXPECT_TRUE(reports.empty());
  in_thread("sync", [&] { locks.update_log_root(); });

  ASSERT_EQ(only_report(), ReportKind::cycle);
  EXPECT_THAT(reports[0].chain,
              ElementsAre("delayed_node->mutex", "btrfs-tree", "btrfs-log", "delayed_node->mutex"));
}

TEST_F(LockOrder, TheReportNamesWhatIsTakenWhatIsHeldAndBothStacksOfEachEdge) {
  SeedLocks locks;
  in_thread("reclaim", [&] { locks.insert_delayed_items(); });
  in_thread("log", [&] { locks.log_csums(); });
  in_thread("sync", [&] { locks.update_log_root(); });
  ASSERT_EQ(only_report(), ReportKind::cycle);

  const std::string& text = reports[0].text;
  EXPECT_THAT(text, HasSubstr("thread \"sync\" is trying to take\n  (delayed_node->mutex) at "));
  EXPECT_THAT(text, HasSubstr("while it already holds\n  (btrfs-log) at "));
  EXPECT_THAT(
      text,
      testing::ContainsRegex(
          "-> #2 \\(btrfs-log\\) taken by thread \"log\" at [^\n]*lock_order_test.cc:[0-9]+ in log_csums"));
  EXPECT_THAT(text, testing::ContainsRegex("-> #1 \\(btrfs-tree\\) taken by thread \"reclaim\""));
  EXPECT_THAT(text, testing::ContainsRegex("-> #0 \\(delayed_node->mutex\\) taken by thread \"sync\""));
  EXPECT_THAT(text, HasSubstr("while it held (btrfs-log), taken at "));
  EXPECT_THAT(text,
              HasSubstr("Chain: delayed_node->mutex --> btrfs-tree --> btrfs-log --> delayed_node->mutex"));
  // Stacks: the function of each outer and each inner acquisition, by symbol.
  for (const char* function : {"SeedLocks::insert_delayed_items()+0x", "SeedLocks::log_csums()+0x",
                               "SeedLocks::update_log_root()+0x", "SeedLocks::release_delayed_node()+0x"})
    EXPECT_THAT(text, HasSubstr(function));
}

TEST_F(LockOrder, OneOrderUsedManyTimesByManyThreadsIsQuiet) {
  Mutex a(class_a), b(class_b), c(class_c);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 1000; ++round) {
        MutexLock lock_a(a);
        MutexLock lock_b(b);
        MutexLock lock_c(c);
      }
    });
  threads.clear();
  EXPECT_TRUE(reports.empty());
  EXPECT_EQ(lock_order::statistics().edges, 3u);
}

TEST_F(LockOrder, AnEdgeAThreadKnowsIsNotLookedUpAgain) {
  Mutex a(class_a), b(class_b);
  lock_in_order(a, b);
  auto before = lock_order::statistics().slow_lookups;
  for (int i = 0; i < 1000; ++i) lock_in_order(a, b);
  EXPECT_EQ(lock_order::statistics().slow_lookups, before);
}

TEST_F(LockOrder, AMistakeIsReportedOnce) {
  Mutex a(class_a), b(class_b);
  lock_in_order(a, b);
  for (int i = 0; i < 3; ++i) lock_in_order(b, a);
  in_thread("another", [&] { lock_in_order(b, a); });
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

TEST_F(LockOrder, ClassesCountNotTheLocksThemselves) {
  Mutex first_a(class_a), second_a(class_a), first_b(class_b), second_b(class_b);
  lock_in_order(first_a, first_b);
  lock_in_order(second_b, second_a);
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

TEST_F(LockOrder, ReadersCloseCyclesToo) {
  SharedMutex a(class_a), b(class_b);
  {
    SharedLock lock_a(a);
    SharedLock lock_b(b);
  }
  SharedLock lock_b(b);
  SharedLock lock_a(a);
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

TEST_F(LockOrder, TryLockAddsNoEdgeToItselfButWhatIsTakenUnderItDoes) {
  Mutex a(class_a), b(class_b), c(class_c);
  lock_in_order(b, a);
  {
    MutexLock lock_a(a);
    if (!b.try_lock()) FAIL();  // against the order, but it could not have waited
    MutexLock lock_b(b, std::adopt_lock);
    EXPECT_TRUE(reports.empty());
    MutexLock lock_c(c);  // b → c
  }
  lock_in_order(c, b);
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

TEST_F(LockOrder, TakingALockTwiceIsReportedBeforeItHangs) NO_THREAD_SAFETY_ANALYSIS {
  stop = true;
  Mutex a(class_a);
  MutexLock lock(a);
  EXPECT_THROW(a.lock(), Stop);
  EXPECT_EQ(only_report(), ReportKind::recursion);
}

// UF-003: works while no writer waits, and is reported all the same.
TEST_F(LockOrder, ReadingTwiceInOneThreadIsReported) NO_THREAD_SAFETY_ANALYSIS {
  SharedMutex a(class_a);
  SharedLock once(a);
  a.lock_shared();
  a.unlock_shared();
  EXPECT_EQ(only_report(), ReportKind::recursion);
  EXPECT_THAT(reports[0].text, HasSubstr("a writer may wait between the two"));
}

TEST_F(LockOrder, TwoLocksOfAClassWithoutARuleAreReported) {
  Mutex first(class_a), second(class_a);
  lock_in_order(first, second);
  EXPECT_EQ(only_report(), ReportKind::nesting);
  EXPECT_THAT(reports[0].text, HasSubstr("rule: never two at once"));
}

TEST_F(LockOrder, LevelsMayDescendAndMustNotAscend) {
  SharedMutex root(tree_class), leaf(tree_class);
  {
    ExclusiveLock lock_root(root, LockLevel{1});
    ExclusiveLock lock_leaf(leaf, LockLevel{0});
    EXPECT_TRUE(reports.empty());
  }
  ExclusiveLock lock_leaf(leaf, LockLevel{0});
  ExclusiveLock lock_root(root, LockLevel{1});
  ASSERT_EQ(reports.size(), 2u);  // against the rule, and against what was seen
  EXPECT_EQ(reports[0].kind, ReportKind::nesting);
  EXPECT_THAT(reports[0].text, HasSubstr("rule: parent before child"));
  EXPECT_THAT(reports[1].chain, ElementsAre("test.tree/1", "test.tree", "test.tree/1"));
}

TEST_F(LockOrder, ACycleThroughTwoLevelsOfAClassAndAnotherClassIsSeen) {
  SharedMutex root(tree_class), leaf(tree_class);
  Mutex a(class_a);
  {
    SharedLock lock_leaf(leaf, LockLevel{0});
    MutexLock lock_a(a);
  }
  MutexLock lock_a(a);
  SharedLock lock_root(root, LockLevel{1});  // a different level: not yet a cycle
  EXPECT_TRUE(reports.empty());
  SharedLock lock_leaf(leaf, LockLevel{0});
  ASSERT_EQ(reports.size(), 2u);  // through a alone, and through a and the other level
  EXPECT_THAT(reports[0].chain, ElementsAre("test.tree", "test.a", "test.tree"));
  EXPECT_THAT(reports[1].chain, ElementsAre("test.tree", "test.a", "test.tree/1", "test.tree"));
}

TEST_F(LockOrder, AddressesMayAscendAndMustNotDescend) {
  struct {
    Mutex low{pair_class}, high{pair_class};
  } pair;
  lock_in_order(pair.low, pair.high);
  EXPECT_TRUE(reports.empty());
  lock_in_order(pair.high, pair.low);
  EXPECT_EQ(only_report(), ReportKind::nesting);
}

// CO-002, BT-089.
TEST_F(LockOrder, BlockingUnderASpinTypeLockIsReported) {
  Mutex spin(spin_class), a(class_a);
  {
    MutexLock lock_a(a);
    lock_order::may_block("read a block");
    EXPECT_TRUE(reports.empty());
    MutexLock lock(spin);
    lock_order::may_block("read a block");
  }
  ASSERT_EQ(only_report(), ReportKind::blocking);
  EXPECT_THAT(reports[0].text, HasSubstr("read a block at "));
}

TEST_F(LockOrder, UnderASpinTypeLockOnlySpinTypeLocksMayBeTaken) {
  Mutex spin(spin_class), inner(inner_spin_class), a(class_a);
  lock_in_order(spin, inner);
  EXPECT_TRUE(reports.empty());
  lock_in_order(spin, a);
  EXPECT_EQ(only_report(), ReportKind::blocking);
}

TEST_F(LockOrder, AllocationUnderASpinTypeLockIsReported) {
  Mutex spin(spin_class);
  MutexLock lock(spin);
  lock_order::may_shrink();
  EXPECT_EQ(only_report(), ReportKind::blocking);
}

// CO-002: seed 000's first scenario. The shrinker never ran under the log's lock in this run.
TEST_F(LockOrder, AllocationUnderALockThatTheShrinkerTakesIsACycle) {
  SeedLocks locks;
  in_thread("shrinker", [&] {
    lock_order::ShrinkerScope shrinking;
    locks.release_delayed_node();
  });
  in_thread("reclaim", [&] { locks.insert_delayed_items(); });
  in_thread("log", [&] { locks.log_csums(); });
  EXPECT_TRUE(reports.empty());
  in_thread("sync", [&] {
    ExclusiveLock log(locks.log_tree);
    lock_order::may_shrink();
  });
  ASSERT_EQ(only_report(), ReportKind::cycle);
  EXPECT_THAT(reports[0].chain, ElementsAre("cache shrinker", "delayed_node->mutex", "btrfs-tree",
                                            "btrfs-log", "cache shrinker"));
}

TEST_F(LockOrder, WaitingForWorkThatTakesALockWhichTheWaiterHoldsIsACycle) {
  constexpr static LockClass work_class{"test.work", {.nesting = LockNesting::any, .rule = "tasks nest"}};
  Mutex a(class_a);
  {
    lock_order::Hold working(work_class);
    MutexLock lock(a);
  }
  MutexLock lock(a);
  lock_order::passes(work_class);
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

// BT-100.
TEST_F(LockOrder, ALockStillHeldAtTheEndOfAScopeIsReported) NO_THREAD_SAFETY_ANALYSIS {
  Mutex a(class_a);
  {
    lock_order::Balanced scope("one stripe");
    MutexLock lock(a);
  }
  EXPECT_TRUE(reports.empty());
  {
    lock_order::Balanced scope("one stripe");
    a.lock();
  }
  a.unlock();
  ASSERT_EQ(only_report(), ReportKind::held_at_exit);
  EXPECT_THAT(reports[0].text, HasSubstr("began \"one stripe\""));
}

TEST_F(LockOrder, ALockStillHeldAtTheEndOfAThreadIsReported) {
  std::optional<lock_order::Hold> hold;  // like a lock, but another thread may end it
  in_thread("forgetful", [&] { hold.emplace(class_a); });
  ASSERT_EQ(only_report(), ReportKind::held_at_exit);
  EXPECT_THAT(reports[0].text, HasSubstr("thread \"forgetful\""));
  hold.reset();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[1].kind, ReportKind::not_held);
}

// CO-003.
TEST_F(LockOrder, AssertHeldReportsALockThatIsNotHeldOrHeldOnlyForReading) {
  Mutex a(class_a);
  SharedMutex b(class_b);
  {
    MutexLock lock_a(a);
    SharedLock lock_b(b);
    a.assert_held();
    b.assert_held_shared();
  }
  EXPECT_TRUE(reports.empty());
  a.assert_held();
  EXPECT_EQ(only_report(), ReportKind::not_held);
  SharedLock lock_b(b);
  [&]() NO_THREAD_SAFETY_ANALYSIS { b.assert_held(); }();
  EXPECT_EQ(reports.size(), 2u);
}

TEST_F(LockOrder, AWaitReleasesTheLockAndTakesItAgainInOrder) {
  Mutex a(class_a), b(class_b);
  CondVar changed;
  lock_in_order(a, b);
  MutexLock lock_b(b);
  changed.wait_for(b, std::chrono::microseconds(1));
  b.assert_held();
  EXPECT_TRUE(reports.empty());
}

TEST_F(LockOrder, AWaitUnderAnotherLockTakesItsOwnAgainUnderThatOne) {
  Mutex a(class_a), b(class_b);
  CondVar changed;
  MutexLock lock_a(a);
  MutexLock lock_b(b);
  changed.wait_for(a, std::chrono::microseconds(1));  // takes a again while b is held
  EXPECT_EQ(only_report(), ReportKind::cycle);
}

TEST_F(LockOrder, MemoryIsBoundedAndReachingTheBoundIsReported) {
  // Needs max_edges edges: all pairs of 201 classes are 20100.
  constexpr int count = 201;
  static std::vector<std::string> names;
  static std::vector<LockClass> classes;
  if (classes.empty()) {
    for (int i = 0; i < count; ++i) names.push_back("test.many." + std::to_string(i));
    for (auto& name : names) classes.emplace_back(name.c_str());
  }
  std::vector<std::unique_ptr<lock_order::Hold>> holds;
  for (auto& lock_class : classes) holds.push_back(std::make_unique<lock_order::Hold>(lock_class));
  while (!holds.empty()) holds.pop_back();
  EXPECT_EQ(only_report(), ReportKind::full);
  EXPECT_EQ(lock_order::statistics().edges, lock_order::max_edges);
}

TEST(LockOrderDeath, TheDefaultHandlerPrintsAndAborts) {
  Mutex a(class_c);
  EXPECT_DEATH(
      {
        MutexLock lock(a);
        [&]() NO_THREAD_SAFETY_ANALYSIS { a.lock(); }();
      },
      "karst: lock order: recursive acquisition");
}

}  // namespace
}  // namespace karst

#endif
