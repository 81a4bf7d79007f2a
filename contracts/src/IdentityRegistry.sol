// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";

import {Identifiers} from "./Identifiers.sol";
import {PublicKeys} from "./PublicKeys.sol";

/// @title Who may speak: devices, and the gateways (miners) that append what they say to a log
/// @notice Storage keeps what a contract or an auditor has to ask: a status and a commitment. Everything else is in the
/// events, and a follower that reads them all, in order, knows all that was ever registered.
contract IdentityRegistry is AccessControl {
    /// @notice What an id names. An id is used once, for one kind.
    enum Kind {
        None,
        Device,
        Miner
    }

    /// @notice Where a registration stands. Only `Active` is heard; `Revoked` is for ever.
    enum Status {
        None,
        Active,
        Suspended,
        Revoked
    }

    /// @notice The type of a device's key: Ed25519 (32 bytes, RFC 8032) or ES256 (P-256, 65 bytes, SEC 1 uncompressed).
    enum Alg {
        None,
        Ed25519,
        ES256
    }

    /// @notice One device of a batch.
    struct Device {
        string id;
        Alg alg;
        bytes publicKey;
    }

    /// @notice One miner. Its log is named by its fleet and its id, see `logIdOf`.
    struct Miner {
        string id;
        string fleet;
        bytes32 logKey;
        bytes hpkeKey;
        address account;
    }

    /// @notice What is stored about an id, in one word.
    /// @param commitment The first 30 bytes of the keccak256 of what was registered; `deviceStatus` and `minerStatus`
    /// compare it.
    /// @param kind What the id names.
    /// @param status Where the registration stands.
    struct Record {
        bytes30 commitment;
        Kind kind;
        Status status;
    }

    /// @notice Which registry this is, for a client that wants to know before it believes.
    string public constant VERSION = "securenet.identity-registry/1";

    /// @notice May register devices and miners, renew a miner's keys and account, reinstate and revoke.
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");

    /// @notice May suspend, and nothing else.
    bytes32 public constant SUSPENDER_ROLE = keccak256("SUSPENDER_ROLE");

    /// @notice The most devices or ids that one transaction may name.
    uint256 public constant MAX_BATCH = 256;

    /// @notice The length of an X25519 public key, in bytes.
    uint256 public constant X25519_BYTES = 32;

    /// @notice The length of a hybrid MLKEM768-X25519 public key, in bytes.
    uint256 public constant MLKEM768_X25519_BYTES = 1216;

    mapping(bytes32 idHash => Record) private _records;
    mapping(bytes32 idHash => address account) private _accountOf;
    mapping(address account => bytes32 idHash) private _minerOfAccount;
    mapping(bytes32 logId => bytes32 idHash) private _minerOfLog;

    /// @notice A device was registered, and is active.
    /// @param idHash keccak256 of the id.
    /// @param id The device id.
    /// @param fleet The fleet that it belongs to.
    /// @param alg The type of its key.
    /// @param publicKey Its key: 32 bytes for Ed25519, 65 for ES256.
    event DeviceRegistered(bytes32 indexed idHash, string id, string fleet, Alg alg, bytes publicKey);

    /// @notice A miner was registered, and is active.
    /// @param idHash keccak256 of the id.
    /// @param logId The one log that it may anchor: keccak256 of `securenet/<fleet>/<id>`.
    /// @param account The account that anchors.
    /// @param id The gateway id.
    /// @param fleet The fleet that it serves.
    /// @param logKey Its Ed25519 log key.
    /// @param hpkeKey Its HPKE key: 32 bytes X25519, or 1,216 bytes MLKEM768-X25519.
    event MinerRegistered(
        bytes32 indexed idHash,
        bytes32 indexed logId,
        address indexed account,
        string id,
        string fleet,
        bytes32 logKey,
        bytes hpkeKey
    );

    /// @notice A miner's keys or account were renewed; its status is what it was. Parameters as in `MinerRegistered`.
    event MinerRenewed(
        bytes32 indexed idHash,
        bytes32 indexed logId,
        address indexed account,
        string id,
        string fleet,
        bytes32 logKey,
        bytes hpkeKey
    );

    /// @notice A device or a miner was suspended, reinstated (`Active`) or revoked.
    /// @param idHash keccak256 of the id.
    /// @param id The id of the device or the miner.
    /// @param kind What the id names.
    /// @param status Where it stands from now on.
    event StatusChanged(bytes32 indexed idHash, string id, Kind kind, Status status);

    /// @notice The batch names nothing, or more than `MAX_BATCH`.
    error BatchSize(uint256 length);

    /// @notice The id is empty, too long, reserved, or has a character outside `[A-Za-z0-9._:-]`.
    error InvalidId(string id);

    /// @notice The fleet is empty, too long, reserved, or has a character outside `[A-Za-z0-9._:-]`.
    error InvalidFleet(string fleet);

    /// @notice The key of this id has the wrong length, is off its curve, not canonical, or of small order.
    error InvalidKey(string id);

    /// @notice The HPKE key of this miner has neither of the two lengths, or is all zero.
    error InvalidHpkeKey(string id);

    /// @notice The id was used before, for a device or a miner, in any status.
    error AlreadyRegistered(string id);

    /// @notice No device and no miner has this id.
    error NotRegistered(string id);

    /// @notice The id names a device where a miner is asked for.
    error NotAMiner(string id);

    /// @notice A miner does not change its fleet: its log is named after it.
    error FleetIsFixed(string id);

    /// @notice A revoked registration stays what it is.
    error RevokedForEver(string id);

    /// @notice The account is bound to a miner, be it a revoked one.
    error AccountTaken(address account);

    /// @notice An account of zero can do nothing.
    error ZeroAccount();

    /// @notice The admin gives the two other roles; either may be zero and given later.
    /// @param admin Holds DEFAULT_ADMIN_ROLE: gives and takes roles.
    /// @param registrar Holds REGISTRAR_ROLE.
    /// @param suspender Holds SUSPENDER_ROLE.
    constructor(address admin, address registrar, address suspender) {
        require(admin != address(0), ZeroAccount());
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        if (registrar != address(0)) _grantRole(REGISTRAR_ROLE, registrar);
        if (suspender != address(0)) _grantRole(SUSPENDER_ROLE, suspender);
    }

    /// @notice Registers devices of one fleet, all or none, as active.
    /// @param fleet The fleet of every device in the batch.
    /// @param devices 1 to `MAX_BATCH` devices.
    function registerDevices(string calldata fleet, Device[] calldata devices) external onlyRole(REGISTRAR_ROLE) {
        _requireBatch(devices.length);
        require(Identifiers.isFleet(fleet), InvalidFleet(fleet));
        bytes32 fleetHash = keccak256(bytes(fleet));
        for (uint256 i = 0; i < devices.length; ++i) {
            Device calldata device = devices[i];
            bytes32 idHash = _claim(device.id);
            require(_isDeviceKey(device.alg, device.publicKey), InvalidKey(device.id));
            _records[idHash] = Record(
                _deviceCommitment(idHash, fleetHash, device.alg, keccak256(device.publicKey)),
                Kind.Device,
                Status.Active
            );
            emit DeviceRegistered(idHash, device.id, fleet, device.alg, device.publicKey);
        }
    }

    /// @notice Registers a miner as active, and binds its account to its log.
    /// @param miner The gateway: id, fleet, keys, account.
    function registerMiner(Miner calldata miner) external onlyRole(REGISTRAR_ROLE) {
        bytes32 idHash = _claim(miner.id);
        require(Identifiers.isFleet(miner.fleet), InvalidFleet(miner.fleet));
        bytes32 logId = logIdOf(miner.fleet, miner.id);
        _minerOfLog[logId] = idHash;
        _bind(idHash, miner, Status.Active);
        emit MinerRegistered(idHash, logId, miner.account, miner.id, miner.fleet, miner.logKey, miner.hpkeKey);
    }

    /// @notice Renews a miner's log key, HPKE key and account, together; status and log stay what they are. An account
    /// that it no longer has is free again.
    /// @param miner The gateway as it is from now on.
    function renewMiner(Miner calldata miner) external onlyRole(REGISTRAR_ROLE) {
        bytes32 idHash = keccak256(bytes(miner.id));
        Record memory record = _records[idHash];
        require(record.status != Status.None, NotRegistered(miner.id));
        require(record.kind == Kind.Miner, NotAMiner(miner.id));
        require(record.status != Status.Revoked, RevokedForEver(miner.id));
        bytes32 logId = logIdOf(miner.fleet, miner.id);
        require(_minerOfLog[logId] == idHash, FleetIsFixed(miner.id));
        delete _minerOfAccount[_accountOf[idHash]];
        _bind(idHash, miner, record.status);
        emit MinerRenewed(idHash, logId, miner.account, miner.id, miner.fleet, miner.logKey, miner.hpkeKey);
    }

    /// @notice Suspends devices and miners, all or none. One that is suspended already is passed over.
    /// @param ids 1 to `MAX_BATCH` ids.
    function suspend(string[] calldata ids) external onlyRole(SUSPENDER_ROLE) {
        _setStatus(ids, Status.Suspended);
    }

    /// @notice Makes suspended devices and miners active again, all or none. One that is active is passed over.
    /// @param ids 1 to `MAX_BATCH` ids.
    function reinstate(string[] calldata ids) external onlyRole(REGISTRAR_ROLE) {
        _setStatus(ids, Status.Active);
    }

    /// @notice Revokes devices and miners for ever, all or none. One that is revoked already is passed over.
    /// @param ids 1 to `MAX_BATCH` ids.
    function revoke(string[] calldata ids) external onlyRole(REGISTRAR_ROLE) {
        _setStatus(ids, Status.Revoked);
    }

    /// @notice What is stored about an id; all zero when it was never registered.
    /// @param idHash keccak256 of the id.
    /// @return The commitment, the kind and the status.
    function recordOf(bytes32 idHash) external view returns (Record memory) {
        return _records[idHash];
    }

    /// @notice Where a device stands, if it was registered with exactly these facts; `None` if not.
    /// @param id The device id.
    /// @param fleet Its fleet.
    /// @param alg The type of its key.
    /// @param publicKey Its key.
    /// @return The status.
    function deviceStatus(
        string calldata id,
        string calldata fleet,
        Alg alg,
        bytes calldata publicKey
    ) external view returns (Status) {
        bytes32 idHash = keccak256(bytes(id));
        bytes32 keyHash = keccak256(publicKey);
        return _statusIf(idHash, _deviceCommitment(idHash, keccak256(bytes(fleet)), alg, keyHash));
    }

    /// @notice Where a miner stands, if it was last registered or renewed with exactly these facts; `None` if not.
    /// @param miner The gateway: id, fleet, keys, account.
    /// @return The status.
    function minerStatus(Miner calldata miner) external view returns (Status) {
        bytes32 idHash = keccak256(bytes(miner.id));
        return _statusIf(idHash, _minerCommitment(idHash, miner));
    }

    /// @notice The miner that an account anchors for, and where it stands.
    /// @param account The anchoring account.
    /// @return idHash keccak256 of the gateway id, zero when the account is nobody's.
    /// @return status Where the miner stands, `None` when the account is nobody's.
    function minerOf(address account) external view returns (bytes32 idHash, Status status) {
        idHash = _minerOfAccount[account];
        status = _records[idHash].status;
    }

    /// @notice The miner that a log belongs to.
    /// @param logId keccak256 of the origin.
    /// @return keccak256 of the gateway id, zero when no miner has this log.
    function minerOfLog(bytes32 logId) external view returns (bytes32) {
        return _minerOfLog[logId];
    }

    /// @notice The account that anchors for a miner.
    /// @param idHash keccak256 of the gateway id.
    /// @return The account, zero when the id names no miner.
    function accountOf(bytes32 idHash) external view returns (address) {
        return _accountOf[idHash];
    }

    /// @notice Whether `account` may anchor the log: it is bound to that log's miner, and that miner is active.
    /// @param account The anchoring account.
    /// @param logId keccak256 of the origin.
    /// @return True if so.
    function isActiveMiner(address account, bytes32 logId) external view returns (bool) {
        bytes32 idHash = _minerOfAccount[account];
        return idHash != 0 && _minerOfLog[logId] == idHash && _records[idHash].status == Status.Active;
    }

    /// @notice The log of a gateway: keccak256 of its origin, `securenet/<fleet>/<id>`.
    /// @dev `/` is outside the alphabet, so that two gateways never have one log.
    /// @param fleet The fleet that it serves.
    /// @param id The gateway id.
    /// @return The log id.
    function logIdOf(string calldata fleet, string calldata id) public pure returns (bytes32) {
        return keccak256(abi.encodePacked("securenet/", fleet, "/", id));
    }

    /// @dev The hash of an id that may be registered and never was.
    function _claim(string calldata id) private view returns (bytes32 idHash) {
        require(Identifiers.isId(id), InvalidId(id));
        idHash = keccak256(bytes(id));
        require(_records[idHash].status == Status.None, AlreadyRegistered(id));
    }

    /// @dev Stores the record of a miner and binds its account.
    function _bind(bytes32 idHash, Miner calldata miner, Status status) private {
        require(PublicKeys.isEd25519(miner.logKey), InvalidKey(miner.id));
        require(_isHpkeKey(miner.hpkeKey), InvalidHpkeKey(miner.id));
        require(miner.account != address(0), ZeroAccount());
        require(_minerOfAccount[miner.account] == 0, AccountTaken(miner.account));
        _minerOfAccount[miner.account] = idHash;
        _accountOf[idHash] = miner.account;
        _records[idHash] = Record(_minerCommitment(idHash, miner), Kind.Miner, status);
    }

    function _setStatus(string[] calldata ids, Status status) private {
        _requireBatch(ids.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            string calldata id = ids[i];
            bytes32 idHash = keccak256(bytes(id));
            Record storage record = _records[idHash];
            Status previous = record.status;
            require(previous != Status.None, NotRegistered(id));
            if (previous == status) continue;
            require(previous != Status.Revoked, RevokedForEver(id));
            record.status = status;
            emit StatusChanged(idHash, id, record.kind, status);
        }
    }

    function _statusIf(bytes32 idHash, bytes30 commitment) private view returns (Status) {
        Record memory record = _records[idHash];
        return record.commitment == commitment ? record.status : Status.None;
    }

    function _requireBatch(uint256 length) private pure {
        require(length != 0 && length <= MAX_BATCH, BatchSize(length));
    }

    function _isDeviceKey(Alg alg, bytes calldata key) private view returns (bool) {
        if (alg == Alg.Ed25519) return key.length == 32 && PublicKeys.isEd25519(bytes32(key));
        return alg == Alg.ES256 && PublicKeys.isP256(key);
    }

    function _isHpkeKey(bytes calldata key) private pure returns (bool) {
        if (key.length == X25519_BYTES) return bytes32(key) != 0;
        return key.length == MLKEM768_X25519_BYTES;
    }

    /// @dev keccak256(abi.encode(Kind.Device, keccak256(id), keccak256(fleet), alg, keccak256(publicKey)))[0:30].
    function _deviceCommitment(
        bytes32 idHash,
        bytes32 fleetHash,
        Alg alg,
        bytes32 keyHash
    ) private pure returns (bytes30) {
        return bytes30(keccak256(abi.encode(Kind.Device, idHash, fleetHash, alg, keyHash)));
    }

    /// @dev keccak256(abi.encode(Kind.Miner, keccak256(id), keccak256(fleet), logKey, keccak256(hpkeKey), account))[0:30].
    function _minerCommitment(bytes32 idHash, Miner calldata miner) private pure returns (bytes30) {
        bytes32 fleetHash = keccak256(bytes(miner.fleet));
        bytes32 hpkeHash = keccak256(miner.hpkeKey);
        return bytes30(keccak256(abi.encode(Kind.Miner, idHash, fleetHash, miner.logKey, hpkeHash, miner.account)));
    }
}
