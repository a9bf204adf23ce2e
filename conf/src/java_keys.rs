//! Keys of the Java broker and name server that mean nothing here (store.md 6.3 to 6.5).
//!
//! They are known so that an existing file works as it is and its owner is told, by name, what has no
//! effect. A key that gains an effect moves from here into the shipped file. Some would make this
//! broker something that it is not: [`refusal`] says which values stop the start instead.

/// A list of keys, separated by blanks.
pub(crate) type KeyList = &'static str;

/// Of the broker's file: store, broker, server.
pub(crate) const OF_BROKER: &[KeyList] = &[STORE, HA, TIMER, BROKER, POP, THREADS, SERVER];

/// Of the name server's file.
pub(crate) const OF_NAMESRV: &[KeyList] = &[NAMESRV, SERVER];

const STORE: KeyList = "
    bitMapLengthConsumeQueueExt
    mapperFileSizeBatchConsumeQueue flushCommitLogTimed commitIntervalCommitLog
    commitCommitLogLeastPages commitCommitLogThoroughInterval
    flushConsumeQueueLeastPages flushConsumeQueueThoroughInterval wakeFlushWhenPutMessage
    wakeCommitWhenPutMessage putMessageTimeout useReentrantLockWhenPutMessage useABSLock
    topicQueueLockNum deleteConsumeQueueFilesInterval destroyMapedFileIntervalForcibly
    redeleteHangedFileInterval maxFilterMessageSize travelCqFileNumWhenGetMessage
    pullBatchMaxMessageCount indexFileWriteEnable indexFileReadEnable indexRocksDBEnable
    enableScheduleAsyncDeliver osPageCacheBusyTimeOutMills
    transientStorePoolEnable transientStorePoolSize fastFailIfNoBufferInStorePool
    warmMapedFileEnable flushLeastPagesWhenWarmMapedFile diskFallRecorded duplicationEnable
    debugLockEnable transRocksDBEnable
    enableCompaction compactionMappedFileSize compactionCqMappedFileSize
    compactionScheduleInternal compactionThreadNum storeType autoMessageVersionOnTopicLen
    maxTopicLength enabledAppendPropCRC forceVerifyPropCRC readUnCommitted
    recheckReputOffsetFromCq dispatchFromSenderThread enableBuildConsumeQueueConcurrently
    putConsumeQueueDataByFileChannel writeWithoutMmap mappedFileSwapEnable
    commitLogForceSwapMapInterval commitLogSwapMapInterval commitLogSwapMapReserveFileNum
    logicQueueForceSwapMapInterval logicQueueSwapMapInterval logicQueueSwapMapReserveFileNum
    cleanSwapedMapInterval replicasPerDiskPartition logicalDiskSpaceCleanForciblyThreshold
    commitLogRecoverMaxNum maxRecoveryCommitlogFiles";

const HA: KeyList = "
    brokerRole slaveTimeout haListenPort haMasterAddress haSendHeartbeatInterval
    haHousekeepingInterval haTransferBatchSize haMaxGapNotInSync haSlaveFallbehindMax
    inSyncReplicas minInSyncReplicas totalReplicas enableAutoInSyncReplicas
    allAckInSyncStateSet haFlowControlEnable maxHaTransferByteInSecond offsetCheckInSlave
    enableDLegerCommitLog dLegerGroup dLegerPeers dLegerSelfId preferredLeaderId
    syncFromLastFile asyncLearner syncMasterFlushOffsetWhenStartup slaveReadEnable
    enableSlaveActingMaster enableRemoteEscape skipPreOnline compatibleWithOldNameSrv
    enableControllerMode controllerAddr brokerHeartbeatInterval brokerNotActiveTimeoutMillis";

const TIMER: KeyList = "
    timerStopEnqueue timerSkipUnknownError timerInterceptDelayLevel timerEnableDisruptor
    timerEnableCheckMetrics timerEnableRetryUntilSuccess timerGetMessageThreadNum
    timerPutMessageThreadNum timerProgressLogIntervalMs timerMetricSmallThreshold
    timerWheelSnapshotFlush timerWheelSnapshotIntervalMs timerRocksDBEnable";

const BROKER: KeyList = "
    fetchNamesrvAddrByAddressServer fetchNameSrvAddrByDnsLookup rmqAddressServerDomain
    rmqAddressServerSubGroup clusterTopicEnable brokerTopicEnable
    brokerFastFailureEnable flushConsumerOffsetHistoryInterval transferMsgByHeap
    startAcceptSendRequestTimeStamp transactionOpMsgMaxSize
    transactionOpBatchInterval disableConsumeIfConsumerReadSlowly consumerFallbehindThreshold
    enableCalcFilterBitMap filterSupportRetry expectConsumerNumUseFilter
    maxErrorRateOfBloomFilter filterDataCleanTimeSpan aclEnable authenticationEnabled
    authorizationEnabled highSpeedMode commercialEnable
    commercialTimerCount commercialTransCount commercialBigCount commercialBaseCount
    filterServerNums maxDelayTime serverLoadBalancerEnable
    litePullMessageEnable rejectPullConsumerEnable useServerSideResetOffset
    enableBroadcastOffsetStore enableSingleTopicRegister enableSplitRegistration
    splitRegistrationSize consumerOffsetUpdateVersionStep
    delayOffsetUpdateVersionStep subscriptionExpiredTimeout metricsLabel
    metricsInDelta metricsGrpcExporterTarget metricsGrpcExporterHeader
    metricGrpcExporterTimeOutInMills metricGrpcExporterIntervalInMills
    metricLoggingExporterIntervalInMills metricsOtelCardinalityLimit enableRemotingMetrics
    enableStatsMetrics enableRequestMetrics enableConnectionMetrics enableLagAndDlqMetrics
    enableTransactionMetrics configManagerVersion configBlackList";

const POP: KeyList = "
    reviveQueueNum reviveInterval reviveScanTime enablePopBufferMerge popCkStayBufferTime
    popPollingMapSize enablePopLog
    retrieveMessageFromPopRetryTopicV1
    popFromRetryProbabilityForPriority priorityOrderAsc popConsumerFSServiceInit
    popConsumerKVServiceInit popConsumerKVServiceEnable";

const THREADS: KeyList = "
    sendMessageThreadPoolNums putMessageFutureThreadPoolNums pullMessageThreadPoolNums
    litePullMessageThreadPoolNums ackMessageThreadPoolNums processReplyMessageThreadPoolNums
    queryMessageThreadPoolNums adminBrokerThreadPoolNums clientManageThreadPoolNums
    consumerManageThreadPoolNums loadBalanceProcessorThreadPoolNums heartbeatThreadPoolNums
    endTransactionThreadPoolNums sendThreadPoolQueueCapacity putThreadPoolQueueCapacity
    pullThreadPoolQueueCapacity litePullThreadPoolQueueCapacity ackThreadPoolQueueCapacity
    replyThreadPoolQueueCapacity queryThreadPoolQueueCapacity
    clientManagerThreadPoolQueueCapacity consumerManagerThreadPoolQueueCapacity
    heartbeatThreadPoolQueueCapacity endTransactionPoolQueueCapacity
    adminBrokerThreadPoolQueueCapacity loadBalanceThreadPoolQueueCapacity
    waitTimeMillsInSendQueue waitTimeMillsInPullQueue waitTimeMillsInLitePullQueue
    waitTimeMillsInHeartbeatQueue waitTimeMillsInTransactionQueue waitTimeMillsInAckQueue
    waitTimeMillsInAdminBrokerQueue";

const SERVER: KeyList = "
    serverWorkerThreads serverSelectorThreads serverCallbackExecutorThreads
    serverOnewaySemaphoreValue serverAsyncSemaphoreValue serverSocketSndBufSize
    serverSocketRcvBufSize serverSocketBacklog writeBufferHighWaterMark writeBufferLowWaterMark
    serverPooledByteBufAllocatorEnable useEpollNativeSelector enableShutdownGracefully
    rocketmqHome";

const NAMESRV: KeyList = "
    configStorePath productEnvName clusterTest clientRequestThreadPoolNums
    defaultThreadPoolNums clientRequestThreadPoolQueueCapacity defaultThreadPoolQueueCapacity
    enableControllerInNamesrv unRegisterBrokerQueueCapacity configBlackList";

/// Why this value of a key without effect must not be passed over.
pub(crate) fn refusal(key: &str, value: &str) -> Option<&'static str> {
    let value = value.trim();
    let on = value.eq_ignore_ascii_case("true");
    match key {
        "brokerRole" if value == "SLAVE" => Some("cannot be a slave yet"),
        "enableDLegerCommitLog" if on => Some("cannot read a DLedger log"),
        "enableControllerMode" if on => Some("cannot be led by a controller"),
        "storeType" if value.eq_ignore_ascii_case("defaultRocksDB") => {
            Some("cannot read queues and offsets that are kept in RocksDB")
        }
        "timerRocksDBEnable" if on => Some("cannot read timers that are kept in RocksDB"),
        "aclEnable" | "authenticationEnabled" | "authorizationEnabled" if on => {
            Some("cannot check who a client is yet, and does not let everybody in instead")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_key_is_listed_once() {
        for lists in [OF_BROKER, OF_NAMESRV] {
            let mut seen = HashSet::new();
            for key in lists.iter().flat_map(|list| list.split_whitespace()) {
                assert!(seen.insert(key), "{key}");
            }
        }
    }

    #[test]
    fn only_values_that_would_mislead_are_refused() {
        assert_eq!(refusal("brokerRole", "ASYNC_MASTER"), None);
        assert_eq!(refusal("brokerRole", "SLAVE "), Some("cannot be a slave yet"));
        assert_eq!(refusal("aclEnable", "false"), None);
        assert!(refusal("aclEnable", "TRUE").is_some());
        assert!(refusal("storeType", "defaultrocksdb").is_some());
        assert_eq!(refusal("useABSLock", "true"), None);
        assert!(refusal("timerRocksDBEnable", "true").is_some());
    }
}
