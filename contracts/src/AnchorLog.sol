// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IdentityRegistry} from "./IdentityRegistry.sol";

/// @title What was anchored: the newest checkpoint of every gateway's log
/// @notice A log only grows. Its head is a size and an RFC 6962 root; a second root for the same size is proof that its
/// gateway told two stories, and freezes the log for ever, in the open.
contract AnchorLog {
    /// @dev Two words. `opened` keeps the first one from being zero, see `open`.
    struct Head {
        uint64 size;
        bool opened;
        bool frozen;
        bytes32 root;
    }

    /// @notice Which contract this is, for a client that wants to know before it believes.
    string public constant VERSION = "securenet.anchor-log/1";

    /// @notice The root of the empty tree, SHA-256 of nothing (RFC 6962, section 2.1).
    bytes32 public constant EMPTY_ROOT = 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855;

    /// @notice The registry that says who may anchor which log.
    IdentityRegistry public immutable REGISTRY;

    mapping(bytes32 logId => Head) private _heads;

    /// @notice A log has a new head.
    /// @param logId keccak256 of the origin.
    /// @param size The number of leaves.
    /// @param root The root of the tree of that size.
    /// @param miner The account that anchored it.
    event Anchored(bytes32 indexed logId, uint64 size, bytes32 root, address indexed miner);

    /// @notice A miner anchored two roots for one size. From here on the log is frozen.
    /// @param logId keccak256 of the origin.
    /// @param size The size that has two roots.
    /// @param anchoredRoot The root that was anchored first and stays the head.
    /// @param otherRoot The root that contradicts it.
    /// @param miner The account that sent the second one.
    event Equivocation(
        bytes32 indexed logId,
        uint64 size,
        bytes32 anchoredRoot,
        bytes32 otherRoot,
        address indexed miner
    );

    /// @notice There is no registry contract at this address.
    error NotARegistry(address registry);

    /// @notice The sender is not the account of this log's miner, or that miner is not active.
    error NotActiveMiner(bytes32 logId, address account);

    /// @notice The log told two stories and takes no more of them.
    error LogFrozen(bytes32 logId, uint64 size);

    /// @notice The size is zero, or below that of the head.
    error StaleSize(bytes32 logId, uint64 size, uint64 latestSize);

    /// @notice No miner has this log.
    error UnknownLog(bytes32 logId);

    /// @notice Binds the contract to one registry, for ever.
    /// @param registry The IdentityRegistry.
    constructor(IdentityRegistry registry) {
        require(address(registry).code.length != 0, NotARegistry(address(registry)));
        REGISTRY = registry;
    }

    /// @notice Anchors a checkpoint. A larger size becomes the head; the head once more changes nothing and succeeds;
    /// another root for the size of the head is recorded as an equivocation, succeeds, and freezes the log.
    /// @param logId keccak256 of the origin.
    /// @param size The number of leaves.
    /// @param root The root of the tree of that size.
    function anchor(bytes32 logId, uint64 size, bytes32 root) external {
        require(REGISTRY.isActiveMiner(msg.sender, logId), NotActiveMiner(logId, msg.sender));
        Head storage head = _heads[logId];
        uint64 latestSize = head.size;
        require(!head.frozen, LogFrozen(logId, latestSize));
        require(size != 0 && size >= latestSize, StaleSize(logId, size, latestSize));
        if (size > latestSize) {
            head.size = size;
            head.opened = true;
            head.root = root;
            emit Anchored(logId, size, root, msg.sender);
        } else if (root != head.root) {
            head.frozen = true;
            emit Equivocation(logId, size, head.root, root, msg.sender);
        }
    }

    /// @notice Pays for the storage of a log ahead of its first anchor, so that it costs what every later one does.
    /// Anyone may, once there is a miner for it; it changes no answer of `latest`, and a second time nothing at all.
    /// @param logId keccak256 of the origin.
    function open(bytes32 logId) external {
        require(REGISTRY.minerOfLog(logId) != 0, UnknownLog(logId));
        Head storage head = _heads[logId];
        if (head.opened) return;
        head.opened = true;
        head.root = EMPTY_ROOT;
    }

    /// @notice The head of a log; of a log that was never anchored, size 0 and the root of the empty tree.
    /// @param logId keccak256 of the origin.
    /// @return size The number of leaves.
    /// @return root The root of the tree of that size.
    /// @return frozen Whether the log was caught telling two stories.
    function latest(bytes32 logId) external view returns (uint64 size, bytes32 root, bool frozen) {
        Head storage head = _heads[logId];
        size = head.size;
        root = size == 0 ? EMPTY_ROOT : head.root;
        frozen = head.frozen;
    }
}
