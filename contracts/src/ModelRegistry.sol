// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";

import {Identifiers} from "./Identifiers.sol";
import {IdentityRegistry} from "./IdentityRegistry.sol";
import {ModelRegistryWords} from "./ModelRegistryWords.sol";
import {PublicKeys} from "./PublicKeys.sol";

/// @title Which models may run, who may read them, and what became of them at the gateways
/// @notice A model has one owner, who publishes rising versions of it. A version is a manifest: its CID, the SHA-256
/// of its whole envelope, and the key that it is signed with. Everything is in the events too, so that a follower
/// which reads them in order needs no call.
contract ModelRegistry is ModelRegistryWords, AccessControl {
    /// @dev Owner and newest version share a word. The CID is that of the newest version.
    struct Model {
        address owner;
        uint64 version;
        uint64 floor;
        string manifestCid;
    }

    /// @dev Two words. A version that was published has a SHA-256 that is not zero.
    struct Version {
        bytes32 manifestSha256;
        uint64 validUntil;
        uint32 keyNumber;
        bool revoked;
    }

    /// @dev A signing key. Its number is its place in `_keys`, counted from 1.
    struct Key {
        IdentityRegistry.Alg alg;
        bytes publicKey;
    }

    /// @dev `Ungranted` tells a grant that was taken back from a gateway that never had one: a misspelt one.
    enum Grant {
        None,
        Granted,
        Ungranted
    }

    /// @notice Which contract this is, for a client that wants to know before it believes.
    string public constant VERSION = "securenet.model-registry/1";

    /// @notice May publish, and do what is for the owner of a model, with those that it owns.
    bytes32 public constant PUBLISHER_ROLE = keccak256("PUBLISHER_ROLE");

    /// @notice May grant and ungrant any model, before its first version as well.
    bytes32 public constant GRANTER_ROLE = keccak256("GRANTER_ROLE");

    /// @notice The most gateways that one transaction may name.
    uint256 public constant MAX_BATCH = 256;

    /// @notice The registry that says who is a gateway.
    IdentityRegistry public immutable REGISTRY;

    Key[] private _keys;
    mapping(address account => uint32 number) private _keyOf;
    mapping(bytes32 modelHash => Model) private _models;
    mapping(bytes32 modelHash => mapping(uint64 version => Version)) private _versions;
    mapping(bytes32 modelHash => mapping(bytes32 gatewayHash => Grant)) private _grants;

    /// @notice Binds the contract to one registry, for ever. The granter may be zero and given later.
    /// @param registry The IdentityRegistry.
    /// @param admin Holds DEFAULT_ADMIN_ROLE: registers publishers, gives and takes roles, names owners.
    /// @param granter Holds GRANTER_ROLE.
    constructor(IdentityRegistry registry, address admin, address granter) {
        require(address(registry).code.length != 0, NotARegistry(address(registry)));
        require(admin != address(0), ZeroAccount());
        REGISTRY = registry;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        if (granter != address(0)) _grantRole(GRANTER_ROLE, granter);
    }

    /// @notice Lets a publisher in, or gives it another signing key. What it published stays bound to the key of that
    /// day. The same key once more changes nothing.
    /// @param account The account that publishes; it gets the PUBLISHER_ROLE.
    /// @param alg The type of its signing key.
    /// @param publicKey Its signing key: 32 bytes for Ed25519, 65 for ES256.
    function registerPublisher(
        address account,
        IdentityRegistry.Alg alg,
        bytes calldata publicKey
    ) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(account != address(0), ZeroAccount());
        require(_isSigningKey(alg, publicKey), InvalidPublisherKey(account));
        _grantRole(PUBLISHER_ROLE, account);
        uint32 number = _keyOf[account];
        if (number != 0) {
            Key storage key = _keys[number - 1];
            if (key.alg == alg && keccak256(key.publicKey) == keccak256(publicKey)) return;
        }
        _keys.push(Key(alg, publicKey));
        _keyOf[account] = uint32(_keys.length);
        emit PublisherRegistered(account, alg, publicKey);
    }

    /// @notice Gives a model, published or not, to a publisher: the way out when its owner's account is lost.
    /// @param modelId The model id.
    /// @param account The publisher that owns it from here on.
    function assign(string calldata modelId, address account) external onlyRole(DEFAULT_ADMIN_ROLE) {
        bytes32 modelHash = _hashOf(modelId);
        require(_isPublisher(account), NotAPublisher(account));
        if (_models[modelHash].owner == account) return;
        _models[modelHash].owner = account;
        emit OwnerChanged(modelHash, account, modelId);
    }

    /// @notice Publishes a version. Who publishes a model that nobody owns, owns it.
    /// @param modelId The model id.
    /// @param version Above the newest version, and so above zero.
    /// @param manifestCid The CID of the manifest, as text.
    /// @param manifestSha256 The SHA-256 of the manifest's envelope.
    /// @param validUntil It must not be loaded from this second on (since 1970); in the future.
    function publish(
        string calldata modelId,
        uint64 version,
        string calldata manifestCid,
        bytes32 manifestSha256,
        uint64 validUntil
    ) external onlyRole(PUBLISHER_ROLE) {
        bytes32 modelHash = _hashOf(modelId);
        uint32 keyNumber = _keyOf[msg.sender];
        require(keyNumber != 0, NotAPublisher(msg.sender));
        Model storage model = _models[modelHash];
        if (model.owner == address(0)) {
            model.owner = msg.sender;
            emit OwnerChanged(modelHash, msg.sender, modelId);
        }
        require(model.owner == msg.sender, NotOwner(modelId, msg.sender));
        require(version > model.version, StaleVersion(modelId, version, model.version));
        require(Identifiers.isId(manifestCid), InvalidCid(manifestCid));
        require(manifestSha256 != 0, InvalidSha256());
        require(validUntil > block.timestamp, AlreadyExpired(validUntil));
        model.version = version;
        model.manifestCid = manifestCid;
        _versions[modelHash][version] = Version(manifestSha256, validUntil, keyNumber, false);
        Key memory key = _keys[keyNumber - 1];
        emit Published(
            modelHash,
            msg.sender,
            modelId,
            version,
            manifestCid,
            manifestSha256,
            validUntil,
            key.alg,
            key.publicKey
        );
    }

    /// @notice Revokes a version, newest or not, for ever. One that is revoked already is passed over.
    /// @param modelId The model id.
    /// @param version The version.
    function revoke(string calldata modelId, uint64 version) external onlyRole(PUBLISHER_ROLE) {
        bytes32 modelHash = _ownedHash(modelId);
        Version storage found = _published(modelHash, modelId, version);
        if (found.revoked) return;
        found.revoked = true;
        emit VersionRevoked(modelHash, modelId, version);
    }

    /// @notice Raises the floor of a model. The floor once more changes nothing.
    /// @param modelId The model id.
    /// @param minVersion The lowest version that may run: not below the floor, nor above the newest version.
    function setFloor(string calldata modelId, uint64 minVersion) external onlyRole(PUBLISHER_ROLE) {
        bytes32 modelHash = _ownedHash(modelId);
        Model storage model = _models[modelHash];
        require(minVersion >= model.floor, FloorFalls(modelId, minVersion, model.floor));
        require(minVersion <= model.version, FloorAboveNewest(modelId, minVersion, model.version));
        if (minVersion == model.floor) return;
        model.floor = minVersion;
        emit FloorRaised(modelHash, modelId, minVersion);
    }

    /// @notice Grants a model to gateways, all or none. One that has the grant is passed over.
    /// @param modelId The model id; it need not be published yet.
    /// @param gatewayIds 1 to `MAX_BATCH` ids of miners in the registry, none of them revoked.
    function grant(string calldata modelId, string[] calldata gatewayIds) external {
        bytes32 modelHash = _granterHash(modelId, gatewayIds.length);
        for (uint256 i = 0; i < gatewayIds.length; ++i) {
            string calldata gatewayId = gatewayIds[i];
            bytes32 gatewayHash = keccak256(bytes(gatewayId));
            if (_grants[modelHash][gatewayHash] == Grant.Granted) continue;
            require(_isGateway(gatewayHash), NotAGateway(gatewayId));
            _grants[modelHash][gatewayHash] = Grant.Granted;
            emit Granted(modelHash, gatewayHash, modelId, gatewayId);
        }
    }

    /// @notice Takes grants back, all or none. One that was taken back already is passed over.
    /// @param modelId The model id.
    /// @param gatewayIds 1 to `MAX_BATCH` ids of gateways that have or had the grant.
    function ungrant(string calldata modelId, string[] calldata gatewayIds) external {
        bytes32 modelHash = _granterHash(modelId, gatewayIds.length);
        for (uint256 i = 0; i < gatewayIds.length; ++i) {
            string calldata gatewayId = gatewayIds[i];
            bytes32 gatewayHash = keccak256(bytes(gatewayId));
            Grant previous = _grants[modelHash][gatewayHash];
            require(previous != Grant.None, NeverGranted(modelId, gatewayId));
            if (previous == Grant.Ungranted) continue;
            _grants[modelHash][gatewayHash] = Grant.Ungranted;
            emit Ungranted(modelHash, gatewayHash, modelId, gatewayId);
        }
    }

    /// @notice Reports what the sender's gateway did with a version. It needs no grant: a gateway without one that
    /// refused a version, or loaded it all the same, is what this log is for.
    /// @param modelId The model id.
    /// @param version A version that was published.
    /// @param outcome What was done, and why.
    function reportAccess(string calldata modelId, uint64 version, Outcome calldata outcome) external {
        (bytes32 gatewayHash, IdentityRegistry.Status status) = REGISTRY.minerOf(msg.sender);
        require(status == IdentityRegistry.Status.Active, NotAnActiveMiner(msg.sender));
        require(_isOutcome(outcome), InvalidOutcome(outcome.result, outcome.reason));
        bytes32 modelHash = keccak256(bytes(modelId));
        _published(modelHash, modelId, version);
        emit AccessReported(modelHash, gatewayHash, modelId, version, outcome.result, outcome.reason);
    }

    /// @notice The newest version of a model; all zero when nothing was published.
    /// @param modelId The model id.
    /// @return version The version.
    /// @return manifestCid The CID of its manifest.
    /// @return manifestSha256 The SHA-256 of its manifest's envelope.
    /// @return validUntil It must not be loaded from this second on.
    /// @return revoked Whether it was revoked.
    function current(
        string calldata modelId
    )
        external
        view
        returns (uint64 version, string memory manifestCid, bytes32 manifestSha256, uint64 validUntil, bool revoked)
    {
        bytes32 modelHash = keccak256(bytes(modelId));
        version = _models[modelHash].version;
        manifestCid = _models[modelHash].manifestCid;
        Version storage found = _versions[modelHash][version];
        (manifestSha256, validUntil, revoked) = (found.manifestSha256, found.validUntil, found.revoked);
    }

    /// @notice All that a receiver asks about a model, as of one block.
    /// @param modelId The model id.
    /// @return state The newest version, the floor, and the key.
    function stateOf(string calldata modelId) external view returns (State memory state) {
        bytes32 modelHash = keccak256(bytes(modelId));
        Model storage model = _models[modelHash];
        Version storage found = _versions[modelHash][model.version];
        if (found.keyNumber == 0) return state;
        Key storage key = _keys[found.keyNumber - 1];
        return
            State(
                model.version,
                model.manifestCid,
                found.manifestSha256,
                found.validUntil,
                found.revoked,
                model.floor,
                key.alg,
                key.publicKey
            );
    }

    /// @notice Any version of a model; all zero when it was never published.
    /// @param modelId The model id.
    /// @param version The version.
    /// @return manifestSha256 The SHA-256 of its manifest's envelope.
    /// @return validUntil It must not be loaded from this second on.
    /// @return revoked Whether it was revoked.
    function versionOf(
        string calldata modelId,
        uint64 version
    ) external view returns (bytes32 manifestSha256, uint64 validUntil, bool revoked) {
        Version storage found = _versions[keccak256(bytes(modelId))][version];
        return (found.manifestSha256, found.validUntil, found.revoked);
    }

    /// @notice The lowest version of a model that may run; zero when no floor was set.
    /// @param modelId The model id.
    /// @return The floor.
    function floorOf(string calldata modelId) external view returns (uint64) {
        return _models[keccak256(bytes(modelId))].floor;
    }

    /// @notice The account that owns a model, zero when nobody does.
    /// @param modelId The model id.
    /// @return The owner.
    function ownerOf(string calldata modelId) external view returns (address) {
        return _models[keccak256(bytes(modelId))].owner;
    }

    /// @notice Whether a gateway has the grant of a model. The grant of a gateway that the registry has suspended or
    /// revoked stays as it is: whoever hands out keys asks the registry too.
    /// @param modelId The model id.
    /// @param gatewayHash keccak256 of the gateway id.
    /// @return True if so.
    function isGranted(string calldata modelId, bytes32 gatewayHash) external view returns (bool) {
        return _grants[keccak256(bytes(modelId))][gatewayHash] == Grant.Granted;
    }

    /// @notice The key that the manifest of a version is signed with; `None` and nothing when it was never published.
    /// @param modelId The model id.
    /// @param version The version.
    /// @return alg The type of the key.
    /// @return publicKey The key.
    function publisherKey(
        string calldata modelId,
        uint64 version
    ) external view returns (IdentityRegistry.Alg alg, bytes memory publicKey) {
        return _keyAt(_versions[keccak256(bytes(modelId))][version].keyNumber);
    }

    /// @notice The key that an account signs its next manifest with; `None` and nothing if it never was a publisher.
    /// @param account The account.
    /// @return alg The type of the key.
    /// @return publicKey The key.
    function keyOf(address account) external view returns (IdentityRegistry.Alg alg, bytes memory publicKey) {
        return _keyAt(_keyOf[account]);
    }

    function _keyAt(uint32 number) private view returns (IdentityRegistry.Alg alg, bytes memory publicKey) {
        if (number == 0) return (IdentityRegistry.Alg.None, "");
        Key storage key = _keys[number - 1];
        return (key.alg, key.publicKey);
    }

    function _hashOf(string calldata modelId) private pure returns (bytes32) {
        require(Identifiers.isId(modelId), InvalidModelId(modelId));
        return keccak256(bytes(modelId));
    }

    function _ownedHash(string calldata modelId) private view returns (bytes32 modelHash) {
        modelHash = _hashOf(modelId);
        require(_models[modelHash].owner == msg.sender, NotOwner(modelId, msg.sender));
    }

    function _granterHash(string calldata modelId, uint256 length) private view returns (bytes32 modelHash) {
        modelHash = _hashOf(modelId);
        bool owns = _models[modelHash].owner == msg.sender && hasRole(PUBLISHER_ROLE, msg.sender);
        require(owns || hasRole(GRANTER_ROLE, msg.sender), NotGranter(modelId, msg.sender));
        require(length != 0 && length <= MAX_BATCH, BatchSize(length));
    }

    function _published(
        bytes32 modelHash,
        string calldata modelId,
        uint64 version
    ) private view returns (Version storage found) {
        found = _versions[modelHash][version];
        require(found.manifestSha256 != 0, UnknownVersion(modelId, version));
    }

    function _isPublisher(address account) private view returns (bool) {
        return _keyOf[account] != 0 && hasRole(PUBLISHER_ROLE, account);
    }

    function _isGateway(bytes32 gatewayHash) private view returns (bool) {
        IdentityRegistry.Record memory record = REGISTRY.recordOf(gatewayHash);
        return record.kind == IdentityRegistry.Kind.Miner && record.status != IdentityRegistry.Status.Revoked;
    }

    function _isSigningKey(IdentityRegistry.Alg alg, bytes calldata key) private view returns (bool) {
        if (alg == IdentityRegistry.Alg.Ed25519) return key.length == 32 && PublicKeys.isEd25519(bytes32(key));
        return alg == IdentityRegistry.Alg.ES256 && PublicKeys.isP256(key);
    }

    function _isOutcome(Outcome calldata outcome) private pure returns (bool) {
        if (outcome.result == Result.None) return false;
        if (outcome.result == Result.Loaded) return outcome.reason == 0;
        if (outcome.result == Result.Refused && outcome.reason == 0) return false;
        return _isReason(outcome.reason);
    }

    /// @dev Characters of `[a-z0-9-]`, then zeros alone: nobody who reads the log is sent anything else.
    function _isReason(bytes32 reason) private pure returns (bool) {
        uint256 left = uint256(reason);
        while (left != 0) {
            uint256 character = left >> 248;
            bool letter = character >= 0x61 && character <= 0x7a;
            bool digit = character >= 0x30 && character <= 0x39;
            if (!letter && !digit && character != 0x2d) return false;
            left <<= 8;
        }
        return true;
    }
}
