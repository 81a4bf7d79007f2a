// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IdentityRegistry} from "./IdentityRegistry.sol";

/// @title What ModelRegistry says: its types, its events, its errors
interface ModelRegistryWords {
    /// @notice What a gateway did with a version.
    enum Result {
        None,
        Loaded,
        Refused,
        Returned
    }

    /// @notice The outcome of an access.
    /// @param result What the gateway did: it loaded the version, refused it, or left it for the last good one.
    /// @param reason Why, as ASCII of `[a-z0-9-]` from the left, then zeros. None when loaded; one when refused.
    struct Outcome {
        Result result;
        bytes32 reason;
    }

    /// @notice Everything about a model in one answer; all zero when nothing was published.
    /// @param version The newest version.
    /// @param manifestCid The CID of its manifest.
    /// @param manifestSha256 The SHA-256 of its manifest's envelope.
    /// @param validUntil It must not be loaded from this second on.
    /// @param revoked Whether it was revoked.
    /// @param floor No version below this one may run.
    /// @param alg The type of the key that its manifest is signed with.
    /// @param publicKey That key.
    struct State {
        uint64 version;
        string manifestCid;
        bytes32 manifestSha256;
        uint64 validUntil;
        bool revoked;
        uint64 floor;
        IdentityRegistry.Alg alg;
        bytes publicKey;
    }

    /// @notice A publisher was let in, or got another signing key, which is for what it publishes from here on.
    /// @param account The account that publishes.
    /// @param alg The type of its signing key.
    /// @param publicKey Its signing key: 32 bytes for Ed25519, 65 for ES256.
    event PublisherRegistered(address indexed account, IdentityRegistry.Alg alg, bytes publicKey);

    /// @notice A model has an owner: whoever published it first, or whom the admin named.
    /// @param modelHash keccak256 of the model id.
    /// @param owner The account that owns it from here on.
    /// @param modelId The model id.
    event OwnerChanged(bytes32 indexed modelHash, address indexed owner, string modelId);

    /// @notice A model has a new version.
    /// @param modelHash keccak256 of the model id.
    /// @param publisher The account that published it.
    /// @param modelId The model id.
    /// @param version The version, above every one before.
    /// @param manifestCid The CID of the manifest.
    /// @param manifestSha256 The SHA-256 of the manifest's envelope.
    /// @param validUntil It must not be loaded from this second on (since 1970).
    /// @param alg The type of the key that the manifest is signed with.
    /// @param publicKey That key.
    event Published(
        bytes32 indexed modelHash,
        address indexed publisher,
        string modelId,
        uint64 version,
        string manifestCid,
        bytes32 manifestSha256,
        uint64 validUntil,
        IdentityRegistry.Alg alg,
        bytes publicKey
    );

    /// @notice A version was revoked, for ever.
    /// @param modelHash keccak256 of the model id.
    /// @param modelId The model id.
    /// @param version The version.
    event VersionRevoked(bytes32 indexed modelHash, string modelId, uint64 version);

    /// @notice The floor of a model rose: no version below it may run.
    /// @param modelHash keccak256 of the model id.
    /// @param modelId The model id.
    /// @param floor The lowest version that may run.
    event FloorRaised(bytes32 indexed modelHash, string modelId, uint64 floor);

    /// @notice A gateway may have the keys of a model's versions from here on.
    /// @param modelHash keccak256 of the model id.
    /// @param gatewayHash keccak256 of the gateway id.
    /// @param modelId The model id.
    /// @param gatewayId The gateway id.
    event Granted(bytes32 indexed modelHash, bytes32 indexed gatewayHash, string modelId, string gatewayId);

    /// @notice A gateway gets no more keys of this model. Parameters as in `Granted`.
    event Ungranted(bytes32 indexed modelHash, bytes32 indexed gatewayHash, string modelId, string gatewayId);

    /// @notice A gateway says what it did with a version: the access log.
    /// @param modelHash keccak256 of the model id.
    /// @param gatewayHash keccak256 of the gateway id, by the account that reported.
    /// @param modelId The model id.
    /// @param version The version.
    /// @param result What the gateway did.
    /// @param reason Why, see `Outcome`.
    event AccessReported(
        bytes32 indexed modelHash,
        bytes32 indexed gatewayHash,
        string modelId,
        uint64 version,
        Result result,
        bytes32 reason
    );

    /// @notice There is no registry contract at this address.
    error NotARegistry(address registry);

    /// @notice An account of zero can do nothing.
    error ZeroAccount();

    /// @notice The batch names nothing, or more than `MAX_BATCH`.
    error BatchSize(uint256 length);

    /// @notice The model id is empty, too long, reserved, or has a character outside `[A-Za-z0-9._:-]`.
    error InvalidModelId(string modelId);

    /// @notice This publisher's key has the wrong length, is off its curve, not canonical, or of small order.
    error InvalidPublisherKey(address account);

    /// @notice The account is no publisher, or has no signing key.
    error NotAPublisher(address account);

    /// @notice The account does not own this model.
    error NotOwner(string modelId, address account);

    /// @notice The account neither owns this model nor has the GRANTER_ROLE.
    error NotGranter(string modelId, address account);

    /// @notice The version is not above the newest one.
    error StaleVersion(string modelId, uint64 version, uint64 newest);

    /// @notice The CID is empty, longer than 64 characters, or has one that no CID has.
    error InvalidCid(string manifestCid);

    /// @notice The SHA-256 is zero: somebody forgot it.
    error InvalidSha256();

    /// @notice The version would be of no use to anybody: its time is over.
    error AlreadyExpired(uint64 validUntil);

    /// @notice The model has no such version.
    error UnknownVersion(string modelId, uint64 version);

    /// @notice A floor never falls.
    error FloorFalls(string modelId, uint64 minVersion, uint64 floor);

    /// @notice A floor is not above the newest version.
    error FloorAboveNewest(string modelId, uint64 minVersion, uint64 newest);

    /// @notice The registry knows no such miner, or has revoked it.
    error NotAGateway(string gatewayId);

    /// @notice The gateway never had a grant of this model.
    error NeverGranted(string modelId, string gatewayId);

    /// @notice The sender is not the account of an active miner.
    error NotAnActiveMiner(address account);

    /// @notice The outcome says nothing, or its reason is not what `Outcome` says.
    error InvalidOutcome(Result result, bytes32 reason);
}
